//! The MMU: an adversary that keeps stale translations for as long as it may.
