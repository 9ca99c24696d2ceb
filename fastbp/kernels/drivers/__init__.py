"""Batches, gradients, second derivatives, whole optimizers: loops over chunks of samples."""
