//! Surgetank.
