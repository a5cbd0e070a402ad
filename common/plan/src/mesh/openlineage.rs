//! A pipeline's lineage for other catalogs.
