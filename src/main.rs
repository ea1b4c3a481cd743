//! The kernel image.

#![no_std]
#![no_main]

use granule::init::Boot;

granule::kernel_main!(main);

fn main(_boot: &Boot) -> u8 {
    0
}
