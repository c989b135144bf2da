"""Trains a classifier of handwritten digits and scores every test image, tracked in MLflow."""
