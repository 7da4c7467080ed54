//! ingress/mod: to be written.
