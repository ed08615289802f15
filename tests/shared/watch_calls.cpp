// Preloaded into a process and its children: writes a line for every call that may change a file or open a connection.
// WATCH_LOG names the file that the lines are appended to, "CALL\tPATH\n", with absolute paths.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

void note(const char *call, const char *path) {
    const char *log = getenv("WATCH_LOG");
    const int before = errno;
    if (log) {
        char line[8192];
        const int length = snprintf(line, sizeof line, "%s\t%s\n", call, path);
        const int file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (file >= 0) {
            syscall(SYS_write, file, line, length < (int)sizeof line ? length : (int)sizeof line);
            syscall(SYS_close, file);
        }
    }
    errno = before;
}

void note_at(const char *call, int folder, const char *path) {
    char whole[8192], base[4096] = "", link[64];
    if (path && path[0] != '/') {
        if (folder == AT_FDCWD)
            strcpy(link, "/proc/self/cwd");
        else
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        const ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
        base[n < 0 ? 0 : n] = '\0';
        snprintf(whole, sizeof whole, "%s/%s", base, path);
        note(call, whole);
    } else {
        note(call, path ? path : "");
    }
}

bool changes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)); }

template <typename F> F *next(F *, const char *name) { return reinterpret_cast<F *>(dlsym(RTLD_NEXT, name)); }

} // namespace

#define NEXT(name) static auto *real = next(static_cast<decltype(name) *>(nullptr), #name)
#define OPEN(name)                                                                                                             \
    int name(const char *path, int flags, ...) {                                                                               \
        va_list rest;                                                                                                          \
        va_start(rest, flags);                                                                                                 \
        const int mode = va_arg(rest, int);                                                                                    \
        va_end(rest);                                                                                                          \
        if (changes(flags)) note_at("open", AT_FDCWD, path);                                                                   \
        NEXT(name);                                                                                                            \
        return real(path, flags, mode);                                                                                        \
    }
#define OPENAT(name)                                                                                                           \
    int name(int folder, const char *path, int flags, ...) {                                                                   \
        va_list rest;                                                                                                          \
        va_start(rest, flags);                                                                                                 \
        const int mode = va_arg(rest, int);                                                                                    \
        va_end(rest);                                                                                                          \
        if (changes(flags)) note_at("open", folder, path);                                                                     \
        NEXT(name);                                                                                                            \
        return real(folder, path, flags, mode);                                                                                \
    }
#define FOPEN(name)                                                                                                            \
    FILE *name(const char *path, const char *mode) {                                                                           \
        if (strpbrk(mode, "wa+")) note_at("open", AT_FDCWD, path);                                                             \
        NEXT(name);                                                                                                            \
        return real(path, mode);                                                                                               \
    }
#define CREAT(name)                                                                                                            \
    int name(const char *path, mode_t mode) {                                                                                  \
        note_at("open", AT_FDCWD, path);                                                                                       \
        NEXT(name);                                                                                                            \
        return real(path, mode);                                                                                               \
    }

extern "C" {
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FOPEN(fopen)
FOPEN(fopen64)
CREAT(creat)
CREAT(creat64)

int mkdir(const char *path, mode_t mode) noexcept {
    NEXT(mkdir);
    const int result = real(path, mode);
    if (result == 0) note_at("mkdir", AT_FDCWD, path);
    return result;
}
int mkdirat(int folder, const char *path, mode_t mode) noexcept {
    NEXT(mkdirat);
    const int result = real(folder, path, mode);
    if (result == 0) note_at("mkdir", folder, path);
    return result;
}
int unlink(const char *path) noexcept {
    note_at("unlink", AT_FDCWD, path);
    NEXT(unlink);
    return real(path);
}
int unlinkat(int folder, const char *path, int flags) noexcept {
    note_at("unlink", folder, path);
    NEXT(unlinkat);
    return real(folder, path, flags);
}
int rmdir(const char *path) noexcept {
    note_at("unlink", AT_FDCWD, path);
    NEXT(rmdir);
    return real(path);
}
int rename(const char *from, const char *to) noexcept {
    note_at("rename", AT_FDCWD, from);
    note_at("rename", AT_FDCWD, to);
    NEXT(rename);
    return real(from, to);
}
int renameat(int a, const char *from, int b, const char *to) noexcept {
    note_at("rename", a, from);
    note_at("rename", b, to);
    NEXT(renameat);
    return real(a, from, b, to);
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) noexcept {
    note_at("rename", a, from);
    note_at("rename", b, to);
    NEXT(renameat2);
    return real(a, from, b, to, flags);
}
int symlink(const char *target, const char *path) noexcept {
    note_at("link", AT_FDCWD, path);
    NEXT(symlink);
    return real(target, path);
}
int link(const char *from, const char *to) noexcept {
    note_at("link", AT_FDCWD, to);
    NEXT(link);
    return real(from, to);
}
int truncate(const char *path, off_t size) noexcept {
    note_at("open", AT_FDCWD, path);
    NEXT(truncate);
    return real(path, size);
}
int connect(int socket, const sockaddr *address, socklen_t length) {
    if (address && address->sa_family != AF_UNIX) note("connect", address->sa_family == AF_INET ? "IPv4" : "other");
    NEXT(connect);
    return real(socket, address, length);
}
ssize_t sendto(int socket, const void *data, size_t size, int flags, const sockaddr *address, socklen_t length) {
    if (address && address->sa_family != AF_UNIX) note("connect", "datagram");
    NEXT(sendto);
    return real(socket, data, size, flags, address, length);
}
int getaddrinfo(const char *node, const char *service, const addrinfo *hints, addrinfo **result) {
    note("lookup", node ? node : "");
    NEXT(getaddrinfo);
    return real(node, service, hints, result);
}
hostent *gethostbyname(const char *name) {
    note("lookup", name);
    NEXT(gethostbyname);
    return real(name);
}
}
