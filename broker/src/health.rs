//! health: to be written.
