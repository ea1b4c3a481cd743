//! Mappings that own or borrow their bytes.

use super::*;

/// Bytes that a mapping borrows go to the device and come back, bounced or not.
#[test]
fn a_mapping_borrows_bytes_while_they_are_the_device_s() {
    linear_machine(8192, |_| {
        let narrow = narrow();
        let mut page = OwnedPage::alloc(Gfp::GFP_KERNEL).unwrap();
        for (start, len) in [(0, 4096), (512, 1024), (3, 70)] {
            for device in [ANY, narrow, DmaDevice { coherent: true, ..ANY }] {
                page.bytes_mut().fill(1);
                let bytes = &mut page.bytes_mut()[start..start + len];
                bytes.fill(2);
                let mapping = DmaMapping::to_device(&device, bytes).unwrap();
                assert_eq!((mapping.len(), mapping.direction()), (len, ToDevice));
                assert_eq!(device_reads(&device, mapping.dma_addr(), len), vec![2; len]);
                drop(mapping);

                let mut mapping = DmaMapping::bidirectional(&device, bytes).unwrap();
                let at = mapping.dma_addr();
                device_writes(&device, at, &vec![3; len]);
                let mut lent = mapping.for_cpu();
                assert_eq!(lent.bytes(), vec![3; len]);
                lent.bytes_mut().unwrap().fill(4);
                drop(lent);
                assert_eq!(device_reads(&device, at, len), vec![4; len]);
                device_writes(&device, at, &vec![5; len]);
                drop(mapping);
                assert_eq!(bytes, vec![5; len]);

                let mut mapping = DmaMapping::from_device(&device, bytes).unwrap();
                device_writes(&device, mapping.dma_addr(), &vec![6; len]);
                assert_eq!(mapping.for_cpu().bytes(), vec![6; len]);
                drop(mapping);
                assert_eq!(bytes, vec![6; len]);
                let around = page.bytes()[..start].iter().chain(&page.bytes()[start + len..]);
                assert!(around.copied().all(|byte| byte == 1), "a neighbour is changed");
            }
        }
        assert_eq!(live_mappings(), 0);
    });
}

#[test]
fn a_mapping_gives_what_is_read_alone_to_nobody_to_write() {
    linear_machine(1024, |_| {
        let page = OwnedPage::alloc(Gfp::GFP_KERNEL).unwrap();
        let mut mapping = DmaMapping::to_device(&ANY, page.bytes()).unwrap();
        assert!(mapping.for_cpu().bytes_mut().is_none());
    });
}

/// A stack, a static and an empty piece are no memory for a device.
#[test]
fn a_mapping_is_of_the_linear_map() {
    linear_machine(1024, |_| {
        let mut page = OwnedPage::alloc(Gfp::GFP_KERNEL).unwrap();
        let mut stack = [0; 64];
        let refused = |result: Result<DmaMapping<'_>, DmaError>| match result {
            Ok(mapping) => panic!("{mapping:?}"),
            Err(error) => assert_eq!(error, DmaError::Invalid),
        };
        refused(DmaMapping::to_device(&ANY, &stack));
        refused(DmaMapping::from_device(&ANY, &mut stack));
        refused(DmaMapping::to_device(&ANY, b"of the image"));
        refused(DmaMapping::from_device(&ANY, &mut page.bytes_mut()[..0]));
    });
}
