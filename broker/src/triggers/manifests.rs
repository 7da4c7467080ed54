//! manifests: to be written.
