//! Memory that is cleared when it is allocated and when it is freed, on the running kernel.
//!
//! Command line: init_on_alloc=1 init_on_free=1

#![no_std]
#![no_main]

mod harness;

use granule::addr::Order;
use granule::mm::debug::mem_auto_init;
use granule::mm::gfp::Gfp;
use granule::mm::page::Frame;
use granule::mm::page_alloc::{alloc_pages, free_pages};

fn bytes(frame: Frame, order: Order) -> &'static mut [u8] {
    let at = core::ptr::with_exposed_provenance_mut((frame.virt()).get());
    // SAFETY: a block that the test allocated, or has just freed and only looks at.
    unsafe { core::slice::from_raw_parts_mut(at, order.bytes()) }
}

kernel_tests! {
    fn the_boot_says_so() {
        let text = arrayvec::ArrayString::<100>::try_from(format_args!("{}", mem_auto_init()));
        assert_eq!(
            text.expect("room").as_str(),
            "mem auto-init: stack:off, heap alloc:on, heap free:on"
        );
    }

    fn pages_come_and_go_as_zeros() {
        for order in [0, 1, 3, 5, 9] {
            let order = Order::new(order).expect("an order");
            let frame = alloc_pages(Gfp::GFP_KERNEL, order).expect("memory");
            assert!(bytes(frame, order).iter().all(|&byte| byte == 0), "allocated, order {order}");
            bytes(frame, order).fill(0x5a);
            free_pages(frame, order);
            assert!(bytes(frame, order).iter().all(|&byte| byte == 0), "freed, order {order}");
        }
    }
}
