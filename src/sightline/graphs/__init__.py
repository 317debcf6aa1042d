"""The shelf of artefact formats: write (torch or onnx inside) and open (torch-free)."""
