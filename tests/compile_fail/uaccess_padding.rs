//! `user_struct!`: bytes that the kernel never wrote would reach users in the padding of a struct.
#![no_std]
#![forbid(unsafe_code)]

use granule::user_struct;

user_struct! {
    pub struct Whole {
        pub first: u32,
        pub second: u32,
    }
}

user_struct! { pub struct Padded { pub first: u8, pub second: u32, } } //~ E0080

user_struct! { pub struct Pointer { pub first: &'static u8, } } //~ E0277

pub fn put(at: granule::arch::uaccess::UserPtr<Whole>) -> bool {
    at.put(Whole { first: 1, second: 2 }).is_ok()
}

pub fn put_any(at: granule::arch::uaccess::UserPtr<(u8, u32)>) {
    let _ = at.put((1, 2)); //~ E0599
}

pub fn get_bool(at: granule::arch::uaccess::UserPtr<bool>) {
    let _ = at.get(); //~ E0599
}

pub fn dereference(at: granule::arch::uaccess::UserPtr<u32>) {
    let _: u32 = *at; //~ E0614
}
