//! Untrusted bytes in, plain values out.
