//! Changes of a mapping's rights. No page is ever writable and executable.
#![deny(unsafe_code)]

use crate::arch::pgtable::{KernelAttrs, Permission};

/// A change of what a mapping allows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Set these rights.
    Permission(Permission),
    /// Remove execution.
    Nx,
    /// Make valid or invalid.
    Valid(bool),
}

impl Change {
    /// The attributes that `old` becomes; `None` where it would be writable and executable.
    pub fn attrs(self, old: KernelAttrs) -> Option<KernelAttrs> {
        match (self, old.permission()) {
            (Self::Permission(Permission::Rw), Permission::Rx)
            | (Self::Permission(Permission::Rx), Permission::Rw) => None,
            // Code that is read-only already stays code.
            (Self::Permission(Permission::Ro), Permission::Rx) => Some(old),
            (Self::Permission(new), _) => old.with_permission(new),
            (Self::Nx, Permission::Rx) => old.with_permission(Permission::Ro),
            (Self::Nx | Self::Valid(_), _) => Some(old),
        }
    }

    /// Returns whether some right is taken away.
    pub fn restricts(self) -> bool {
        matches!(self, Self::Permission(Permission::Ro | Permission::Rx) | Self::Valid(false))
    }

    /// Returns whether the linear map's mapping of a page of vmalloc changes along.
    pub fn changes_alias(self) -> bool {
        matches!(self, Self::Permission(Permission::Ro | Permission::Rw))
    }
}
