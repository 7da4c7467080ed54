//! Bodies of the admin API.
