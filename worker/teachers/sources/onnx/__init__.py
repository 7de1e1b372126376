"""ONNX models: the graph is checked as data before onnxruntime loads it."""
