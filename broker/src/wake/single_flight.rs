//! single_flight: to be written.
