//! Public error codes.
