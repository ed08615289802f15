"""How a model becomes a program: import, canonicalisation, lowering, code generation, reports, command line."""
