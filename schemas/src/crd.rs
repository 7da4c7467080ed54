//! crd.
