use super::machine;
use super::*;
use crate::addr::{PAGE_SIZE, TASK_SIZE, UserAddr, UserRange};
use crate::user_struct;
use std::vec;
use std::vec::Vec;

const BASE: usize = 0x10_0000;

fn at(offset: usize) -> UserAddr {
    UserAddr::new(BASE + offset).unwrap()
}

fn slice(offset: usize, len: usize) -> UserSlice {
    UserSlice::from_size(at(offset), len).unwrap()
}

/// A page that may be written, one that may be read, and nothing behind.
fn user() {
    machine::map(at(0), 0x11, true);
    machine::map(at(PAGE_SIZE), 0x22, false);
}

user_struct! {
    /// Linux: struct __kernel_timespec.
    #[derive(PartialEq, Debug)]
    struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }

    #[derive(PartialEq, Debug)]
    struct Mixed {
        a: u8,
        b: [u8; 3],
        c: u32,
        d: [u16; 4],
    }
}

#[test]
fn values_go_to_a_user_and_come_back() {
    user();
    macro_rules! there_and_back {
        ($($value:expr),+) => {
            $(for offset in [8, 9, 11, PAGE_SIZE - size_of_val(&$value)] {
                let ptr = UserPtr::new(at(offset));
                assert_eq!(ptr.put($value), Ok(()));
                assert_eq!(ptr.get(), Ok($value));
            })+
        };
    }
    there_and_back!(
        0x81u8,
        0x8182u16,
        0x8182_8384u32,
        u64::MAX - 7,
        -3i32,
        [1u8, 2, 3],
        u128::MAX - 9
    );
    there_and_back!(Timespec { seconds: -1, nanoseconds: 999 });
    there_and_back!(Mixed { a: 1, b: [2, 3, 4], c: 0x0506_0708, d: [9, 10, 11, 12] });
    // In the order of memory, and no byte more.
    UserPtr::new(at(16)).put(0x0102_0304u32).unwrap();
    let mut bytes = [0; 6];
    UserPtr::new(at(15)).put(0xeeu8).unwrap();
    UserPtr::new(at(20)).put(0xddu8).unwrap();
    slice(15, 6).copy_to(&mut bytes).unwrap();
    assert_eq!(bytes, [0xee, 4, 3, 2, 1, 0xdd]);
}

#[test]
fn a_value_that_is_not_there_is_an_error() {
    user();
    let end = 2 * PAGE_SIZE;
    assert_eq!(UserPtr::<u64>::new(at(end)).get(), Err(Efault { not_copied: 8 }));
    assert_eq!(UserPtr::<u64>::new(at(end - 4)).get(), Err(Efault { not_copied: 8 }));
    assert_eq!(UserPtr::<u64>::new(at(end - 8)).get(), Ok(0x2222_2222_2222_2222));
    assert_eq!(UserPtr::new(at(PAGE_SIZE)).put(1u16), Err(Efault { not_copied: 2 }));
    let timespec = Timespec { seconds: 1, nanoseconds: 2 };
    assert_eq!(UserPtr::new(at(PAGE_SIZE - 5)).put(timespec), Err(Efault { not_copied: 11 }));
}

#[test]
fn copies_end_at_the_first_byte_without_a_right() {
    user();
    let end = 2 * PAGE_SIZE;
    for (n, over) in [(1, 1), (8, 3), (64, 64), (100, 1), (100, 99), (PAGE_SIZE, 7)] {
        let len = n + over;
        let mut bytes = vec![0; len];
        assert_eq!(slice(end - n, len).copy_to(&mut bytes), Err(Efault { not_copied: over }));
        assert_eq!(bytes, [vec![0x22; n], vec![0; over]].concat());
        let ones = vec![1; len];
        let result = slice(PAGE_SIZE - n, len).copy_from(&ones);
        assert_eq!(result, Err(Efault { not_copied: over }));
        assert_eq!(slice(PAGE_SIZE - n, len).clear(), Err(Efault { not_copied: over }));
    }
    assert_eq!(slice(end, 5).clear(), Err(Efault { not_copied: 5 }));
    assert_eq!(slice(end, 0).clear(), Ok(()));
    assert_eq!(slice(end, 0).copy_to(&mut []), Ok(()));
}

#[test]
fn the_end_of_the_user_s_half_is_no_memory() {
    let last = UserAddr::new(TASK_SIZE - 4).unwrap();
    machine::map(UserAddr::new(TASK_SIZE - PAGE_SIZE).unwrap(), 3, true);
    assert_eq!(UserPtr::<u32>::new(last).get(), Ok(0x0303_0303));
    assert_eq!(UserPtr::<u64>::new(last).get(), Err(Efault { not_copied: 8 }));
    assert_eq!(UserPtr::<u64>::new(last).put(1), Err(Efault { not_copied: 8 }));
    assert_eq!(UserSlice::from_size(last, 5), Err(Efault { not_copied: 5 }));
    assert_eq!(UserSlice::from_size(last, usize::MAX), Err(Efault { not_copied: usize::MAX }));
    assert_eq!(UserSlice::from_size(last, 4).unwrap().strnlen(), Ok(4));
    assert_eq!(UserPtr::<u32>::new(last).offset(1), None);
    assert_eq!(UserPtr::<u32>::new(last).offset(usize::MAX), None);
    let array = UserPtr::<u32>::new(at(0));
    assert_eq!(array.offset(1 << 62), None);
    assert_eq!(array.offset(3), Some(UserPtr::new(at(12))));
}

#[test]
fn slices_split_up_to_the_end_of_the_half() {
    let whole = slice(0, 10);
    let (first, rest) = whole.split_at(3).unwrap();
    assert_eq!((first, rest), (slice(0, 3), slice(3, 7)));
    assert_eq!(whole.split_at(11), None);
    let (all, none) = whole.split_at(10).unwrap();
    assert_eq!((all, none), (whole, slice(10, 0)));
    let start = UserAddr::new(TASK_SIZE - 10).unwrap();
    let last = UserSlice::new(UserRange::from_size(start, 10).unwrap());
    let (all, none) = last.split_at(10).unwrap();
    assert_eq!((all, none.is_empty()), (last, true));
}

#[test]
fn strings_end_at_a_zero_or_at_the_limit() {
    user();
    for start in [0, 1, 7, 8, 13] {
        for len in (0..40).chain([PAGE_SIZE - 20]) {
            user();
            UserPtr::new(at(start + len)).put(0u8).unwrap();
            assert_eq!(slice(start, PAGE_SIZE).strnlen(), Ok(len), "from {start}");
            for limit in [len / 2, len, len + 1, len + 9] {
                assert_eq!(slice(start, limit).strnlen(), Ok(len.min(limit)));
            }
        }
    }
    user();
    // No zero up to the end of memory.
    for n in [1, 7, 8, 20] {
        let slice = slice(2 * PAGE_SIZE - n, 100);
        assert_eq!(slice.strnlen(), Err(Efault { not_copied: 100 - n }));
    }
    assert_eq!(slice(2 * PAGE_SIZE - 9, 9).strnlen(), Ok(9));
}

#[test]
fn bytes_of_a_struct_are_its_fields() {
    let mixed = Mixed { a: 1, b: [2, 3, 4], c: 5, d: [6, 7, 8, 9] };
    let bytes: Vec<u8> = vec![1, 2, 3, 4, 5, 0, 0, 0, 6, 0, 7, 0, 8, 0, 9, 0];
    assert!(mixed.with_bytes(|all| all == bytes));
    let back = Mixed::read_with(|to| {
        to.copy_from_slice(&bytes);
        Ok::<(), ()>(())
    });
    assert_eq!(back, Ok(mixed));
    assert_eq!(u32::read_with(|_| Err(7)), Err(7));
}

/// What is copied before a fault is counted exactly, over the ends of buffers too.
#[test]
fn buffers_are_filled_up_to_the_byte_that_faults() {
    user();
    let buffers = [slice(3, 5), slice(100, 0), slice(PAGE_SIZE - 2, 4), slice(50, 7)];
    let mut sink = UserBuffers::new(&buffers);
    assert_eq!((IoSink::remaining(&sink), sink.put(b"abc"), sink.put_zeros(1)), (16, 3, 1));
    // One byte ends the first buffer, two are writable in the third.
    assert_eq!((sink.put(b"defgh"), IoSink::remaining(&sink)), (3, 9));
    assert_eq!((sink.put(b"x"), sink.put_zeros(1), IoSink::remaining(&sink)), (0, 0, 9));
    let mut bytes = [0; 5];
    slice(3, 5).copy_to(&mut bytes).unwrap();
    assert_eq!(&bytes, b"abc\0d");
    let mut source = UserBuffers::new(&buffers);
    let mut to = [9; 20];
    assert_eq!((source.take(&mut to), IoSource::remaining(&source)), (16, 0));
    assert_eq!(&to[..11], b"abc\0def\x22\x22\x11\x11");
    assert_eq!((source.take(&mut to), to[16]), (0, 9));
    let end = [slice(2 * PAGE_SIZE - 3, 10)];
    let mut source = UserBuffers::new(&end);
    source.truncate(4);
    assert_eq!((source.take(&mut to), IoSource::remaining(&source)), (3, 1));
    // The kernel's own.
    let mut buffer = [1; 6];
    let mut sink = KernelSink::new(&mut buffer);
    assert_eq!(
        (sink.put(b"12"), sink.put_zeros(1), sink.put(b"3456"), sink.remaining()),
        (2, 1, 3, 0)
    );
    assert_eq!(sink.filled(), b"12\x00345");
    let mut source: &[u8] = b"12345";
    assert_eq!(
        (source.take(&mut to[..3]), source.take(&mut to[3..]), source.remaining()),
        (3, 2, 0)
    );
    assert_eq!(&to[..5], b"12345");
}
