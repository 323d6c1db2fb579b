"""The resources people write, as pydantic models; `crds/` is generated from them."""
