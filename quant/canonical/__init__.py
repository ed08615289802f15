"""The canonical float graph, and what runs it: onnxruntime, or torch where derivatives are needed."""
