"""Encoders: any ONNX classifier, architecture of timm, bundle or bank of filters as maps and rows; torch-free."""
