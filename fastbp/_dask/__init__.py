"""Fits of what lies on the workers of a Dask cluster: `fastbp.dask` is their front."""
