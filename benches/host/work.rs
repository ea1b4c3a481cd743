//! The work that contenders are given.

use crate::contender::Contender;
use crate::random::Random;
use std::alloc::Layout;
use std::hint::black_box;
use std::ptr::with_exposed_provenance_mut;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

/// Part of some work that one thread does: performs as many operations as it is told.
pub type Part<'a> = Box<dyn FnMut(usize) + 'a>;

/// Work of all threads.
pub trait Work: Copy + Sync {
    /// State that the threads share.
    type Shared<C: Contender>: Sync;

    /// Creates the shared state.
    fn share<C: Contender>(self) -> Self::Shared<C>;

    /// The part of thread number `thread`, which keeps its objects until it is dropped.
    fn part<'a, C: Contender>(
        self,
        contender: &'a C,
        shared: &'a Self::Shared<C>,
        thread: usize,
    ) -> Part<'a>;

    /// Bytes that a thread has at a time.
    fn bytes(self) -> usize;
}

/// Sizes of objects, and the calls made with them.
pub trait Sizes: Copy + Sync + 'static {
    /// Bytes of the next object.
    fn next(self, random: &mut Random) -> u32;
    /// Bytes of an object, on the average.
    fn mean(self) -> usize;
    /// Bytes that an object of `size` bytes is a multiple of, and whether it is written to.
    fn kind(self, size: u32) -> (usize, bool);
}

#[derive(Clone, Copy)]
enum Kind {
    /// Memory, which is there to be written to.
    Object,
    /// Pages, aligned to their size.
    Pages,
    /// Addresses of whole pages.
    Range,
}

impl Kind {
    fn of(self, size: u32) -> (usize, bool) {
        match self {
            Self::Object => (8, true),
            Self::Pages => (size as usize, false),
            Self::Range => (PAGE as usize, false),
        }
    }
}

const PAGE: u32 = 4096;

/// Objects that are all alike.
#[derive(Clone, Copy)]
pub struct Fixed(u32, Kind);

impl Fixed {
    /// Object of `size` bytes.
    pub const fn object(size: u32) -> Self {
        Self(size, Kind::Object)
    }
    /// 2^order pages.
    pub const fn pages(order: u32) -> Self {
        Self(PAGE << order, Kind::Pages)
    }
    /// Addresses of `n` pages.
    pub const fn range(n: u32) -> Self {
        Self(n * PAGE, Kind::Range)
    }
}

impl Sizes for Fixed {
    fn next(self, _: &mut Random) -> u32 {
        self.0
    }
    fn mean(self) -> usize {
        self.0 as usize
    }
    fn kind(self, size: u32) -> (usize, bool) {
        self.1.of(size)
    }
}

/// Objects of many sizes.
#[derive(Clone, Copy)]
pub struct Mixed(Kind);

impl Mixed {
    /// Sizes from 8 to 4095 bytes, as many below 16 as from 2048.
    pub const OBJECTS: Self = Self(Kind::Object);
    /// Orders 0 to 3.
    pub const PAGES: Self = Self(Kind::Pages);
    /// 1 to 32 pages.
    pub const RANGES: Self = Self(Kind::Range);
}

impl Sizes for Mixed {
    fn next(self, random: &mut Random) -> u32 {
        match self.0 {
            Kind::Object => {
                let least = 8 << random.below(9);
                least + random.below(least as usize) as u32
            }
            Kind::Pages => PAGE << random.below(4),
            Kind::Range => PAGE * (1 + random.below(32) as u32),
        }
    }
    fn mean(self) -> usize {
        match self.0 {
            Kind::Object => 700,
            Kind::Pages => 15 * PAGE as usize / 4,
            Kind::Range => 33 * PAGE as usize / 2,
        }
    }
    fn kind(self, size: u32) -> (usize, bool) {
        self.0.of(size)
    }
}

/// A live object and its size.
struct Live1<C: Contender>(C::Object, u32);

/// Objects of one thread: allocates and frees them.
struct Objects<'a, C: Contender, S> {
    contender: &'a C,
    sizes: S,
    random: Random,
    live: Vec<Live1<C>>,
}

/// Value that is written to the object at `address`.
fn tag(address: usize) -> usize {
    address ^ 0x5a5a_5a5a_5a5a_5a5a
}

fn layout(sizes: impl Sizes, size: u32) -> (Layout, bool) {
    let (align, touched) = sizes.kind(size);
    (Layout::from_size_align(size as usize, align).expect("a sane layout"), touched)
}

impl<'a, C: Contender, S: Sizes> Objects<'a, C, S> {
    fn new(contender: &'a C, sizes: S, thread: usize) -> Self {
        Self { contender, sizes, random: Random::new(2 * thread as u64 + 1), live: Vec::new() }
    }

    #[inline]
    fn alloc(&mut self) -> Live1<C> {
        let size = self.sizes.next(&mut self.random);
        let (layout, touched) = layout(self.sizes, size);
        let object = self.contender.alloc(layout);
        let object = object.unwrap_or_else(|| panic!("{}: memory is short", C::NAME));
        if touched {
            let at = C::address(object);
            // SAFETY: 8 bytes at least, aligned to 8, allocated just now.
            unsafe { with_exposed_provenance_mut::<usize>(at).write(tag(at)) }
        }
        Live1(black_box(object), size)
    }

    #[inline]
    fn free(&mut self, Live1(object, size): Live1<C>) {
        let (layout, touched) = layout(self.sizes, size);
        if touched {
            let at = C::address(object);
            // SAFETY: written when it was allocated.
            let found = unsafe { with_exposed_provenance_mut::<usize>(at).read() };
            assert_eq!(found, tag(at), "{}: {at:#x} was written to by others", C::NAME);
        }
        // SAFETY: allocated by `alloc`; whoever has the value frees it.
        unsafe { self.contender.free(object, layout) }
    }
}

impl<C: Contender, S> Drop for Objects<'_, C, S> {
    fn drop(&mut self) {
        assert!(self.live.is_empty() || std::thread::panicking(), "objects are left");
    }
}

/// Allocates and frees one object at a time.
#[derive(Clone, Copy)]
pub struct Pair<S>(pub S);

impl<S: Sizes> Work for Pair<S> {
    type Shared<C: Contender> = ();
    fn share<C: Contender>(self) {}
    fn part<'a, C: Contender>(self, contender: &'a C, (): &'a (), thread: usize) -> Part<'a> {
        let mut objects = Objects::new(contender, self.0, thread);
        Box::new(move |ops| {
            for _ in 0..ops {
                let object = objects.alloc();
                objects.free(object);
            }
        })
    }
    fn bytes(self) -> usize {
        self.0.mean()
    }
}

/// Objects that [`Batch`] has at a time.
const BATCH: usize = 1000;

/// Many allocations, then their frees in the same order.
#[derive(Clone, Copy)]
pub struct Batch<S>(pub S);

impl<S: Sizes> Work for Batch<S> {
    type Shared<C: Contender> = ();
    fn share<C: Contender>(self) {}
    fn part<'a, C: Contender>(self, contender: &'a C, (): &'a (), thread: usize) -> Part<'a> {
        let mut objects = Objects::new(contender, self.0, thread);
        let mut batch = Vec::with_capacity(BATCH);
        Box::new(move |ops| {
            for _ in 0..ops.div_ceil(BATCH) {
                for _ in 0..BATCH {
                    batch.push(objects.alloc());
                }
                for object in batch.drain(..) {
                    objects.free(object);
                }
            }
        })
    }
    fn bytes(self) -> usize {
        BATCH * self.0.mean()
    }
}

/// So many live objects, of which a run is replaced at a time.
#[derive(Clone, Copy)]
pub struct Live<S>(pub S, pub usize);

/// Objects that are freed before as many are allocated.
const RUN: usize = 100;
/// Distance from one object to the next of a run. It is prime, so no object is met twice.
const STRIDE: usize = 7919;

impl<S: Sizes> Work for Live<S> {
    type Shared<C: Contender> = ();
    fn share<C: Contender>(self) {}
    fn part<'a, C: Contender>(self, contender: &'a C, (): &'a (), thread: usize) -> Part<'a> {
        let Self(sizes, live) = self;
        let mut objects = LiveObjects(Objects::new(contender, sizes, thread));
        objects.0.live.reserve_exact(live);
        for _ in 0..live {
            let object = objects.0.alloc();
            objects.0.live.push(object);
        }
        let mut freed = Vec::with_capacity(RUN);
        Box::new(move |ops| {
            let objects = &mut objects.0;
            for _ in 0..ops.div_ceil(RUN) {
                let start = objects.random.below(live);
                for n in 0..RUN {
                    let place = (start + n * STRIDE) % live;
                    let &Live1(object, size) = &objects.live[place];
                    objects.free(Live1(object, size));
                    freed.push(place);
                }
                for place in freed.drain(..) {
                    objects.live[place] = objects.alloc();
                }
            }
        })
    }
    fn bytes(self) -> usize {
        self.1 * self.0.mean()
    }
}

/// Frees what is live when it ends, where it has to be: some heaps take a time that grows with
/// the square of it.
struct LiveObjects<'a, C: Contender, S: Sizes>(Objects<'a, C, S>);

impl<C: Contender, S: Sizes> Drop for LiveObjects<'_, C, S> {
    fn drop(&mut self) {
        let live = std::mem::take(&mut self.0.live);
        if !C::GIVES_ALL_BACK {
            live.into_iter().for_each(|object| self.0.free(object));
        }
    }
}

/// Thread 0 allocates, thread 1 frees.
#[derive(Clone, Copy)]
pub struct Crossing<S>(pub S);

/// Objects that cross at a time, so that what the crossing itself takes is shared by many.
const CRATE: usize = 64;
/// Crates on their way.
const CRATES: usize = 16;

type Crate<C> = Vec<Live1<C>>;

/// The way there for full crates, and back for empty ones.
pub struct Belt<C: Contender> {
    there: (SyncSender<Crate<C>>, Mutex<Receiver<Crate<C>>>),
    back: (SyncSender<Crate<C>>, Mutex<Receiver<Crate<C>>>),
}

impl<S: Sizes> Work for Crossing<S> {
    type Shared<C: Contender> = Belt<C>;

    fn share<C: Contender>(self) -> Belt<C> {
        let way = || {
            let (sender, receiver) = sync_channel(CRATES);
            (sender, Mutex::new(receiver))
        };
        let belt = Belt { there: way(), back: way() };
        for _ in 0..CRATES {
            belt.back.0.send(Vec::with_capacity(CRATE)).expect("the belt is whole");
        }
        belt
    }

    fn part<'a, C: Contender>(
        self,
        contender: &'a C,
        belt: &'a Belt<C>,
        thread: usize,
    ) -> Part<'a> {
        let mut objects = Objects::new(contender, self.0, thread);
        let (from, to) =
            if thread == 0 { (&belt.back.1, &belt.there.0) } else { (&belt.there.1, &belt.back.0) };
        let from = from.lock().unwrap_or_else(PoisonError::into_inner);
        Box::new(move |ops| {
            for _ in 0..ops.div_ceil(CRATE) {
                let mut load = from.recv().expect("the belt is whole");
                if thread == 0 {
                    load.extend((0..CRATE).map(|_| objects.alloc()));
                } else {
                    load.drain(..).for_each(|object| objects.free(object));
                }
                to.send(load).expect("the belt is whole");
            }
        })
    }

    fn bytes(self) -> usize {
        CRATE * CRATES * self.0.mean()
    }
}
