//! `PageOwner`: a list links the descriptors of what another type would call its pages.
#![no_std]
#![forbid(unsafe_code)]

use granule::mm::page_alloc::page_list::PageOwner; //~ E0603
