//! Mistakes in the life of objects: used before they are initialised, initialised while they
//! are in use, freed while somebody has them yet (Linux: debug_objects=on,
//! lib/debugobjects.c).
//!
//! Whoever has a kind of object with a life of several stages tells of each stage; an object
//! is known by its address. Memory that is freed is looked through for objects that are
//! active: those that others will still use.
//!
//! | state | comes from | may become |
//! | --- | --- | --- |
//! | `Init` | init | `Active`, `Inactive`, `Destroyed`, none |
//! | `Active` | activate | `Inactive` |
//! | `Inactive` | deactivate | `Init`, `Active`, `Destroyed`, none |
//! | `Destroyed` | destroy | none, by free |

use super::objects::{ACTIVATED, EXTRA, KIND, Node, Objects, STACK, STATE};
use super::report::report;
use super::stackdepot::{self, Handle, Stack};
use crate::addr::VirtAddr;
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::hooks::{self, ObjectType};
use crate::sync::{Rank, SpinLock};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Stage of an object's life (Linux: enum debug_obj_state).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ObjectState {
    /// Unknown, or freed.
    None,
    /// Ready to be used.
    Init,
    /// Used no more.
    Inactive,
    /// Active object, in use.
    Active,
    /// Not to be used again.
    Destroyed,
}

impl ObjectState {
    const ALL: [Self; 5] = [Self::None, Self::Init, Self::Inactive, Self::Active, Self::Destroyed];

    fn from_number(number: u32) -> Self {
        Self::ALL.into_iter().find(|&state| state as u32 == number).unwrap_or(Self::None)
    }

    /// Returns the name that Linux prints (obj_states).
    const fn name(self) -> &'static str {
        match self {
            Self::None => "not available",
            Self::Init => "initialized",
            Self::Inactive => "inactive",
            Self::Active => "active",
            Self::Destroyed => "destroyed",
        }
    }
}

machine_local! {
    static ON: AtomicBool = AtomicBool::new(false);
    static OBJECTS: SpinLock<Objects> = SpinLock::new(Rank::DebugObjects, Objects::new());
    static WARNINGS: AtomicU32 = AtomicU32::new(0);
}

/// Switches it on.
pub(super) fn enable() {
    if !ON.swap(true, Relaxed) {
        super::watch_frees();
        super::watch_pages();
    }
}

/// Returns whether it is on.
#[must_use]
pub fn debug_objects_on() -> bool {
    ON.load(Relaxed)
}

/// Returns the number of mistakes reported.
#[must_use]
pub fn debug_objects_warnings() -> u32 {
    WARNINGS.load(Relaxed)
}

fn with_objects<R>(f: impl FnOnce(&mut Objects) -> R) -> R {
    with_masked(|irq| f(&mut OBJECTS.lock(irq)))
}

/// A mistake (Linux: debug_print_object).
struct Mistake {
    what: &'static str,
    at: VirtAddr,
    state: ObjectState,
    extra: u32,
    kind: ObjectType,
    init: Option<Handle>,
    activated: Option<Handle>,
    by: Option<Handle>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "ODEBUG: {} {} (active state {}) object: {} object type: {}",
            self.what,
            self.state.name(),
            self.extra,
            self.at,
            self.kind.name()
        )?;
        write!(f, "{}", Stack(self.by))?;
        if self.init.is_some() {
            write!(f, "initialized by:\n{}", Stack(self.init))?;
        }
        if self.activated.is_some() {
            write!(f, "activated by:\n{}", Stack(self.activated))?;
        }
        Ok(())
    }
}

fn state(objects: &Objects, node: Node) -> ObjectState {
    ObjectState::from_number(objects.get(node, STATE))
}

fn mistake(objects: &Objects, node: Node, what: &'static str, by: Option<Handle>) -> Mistake {
    let kind = objects.get(node, KIND);
    let kind = ObjectType::ALL.into_iter().find(|&k| k as u32 == kind).unwrap_or(ObjectType::Test);
    Mistake {
        what,
        at: objects.start(node),
        state: state(objects, node),
        extra: objects.get(node, EXTRA),
        kind,
        init: Handle::from_number(objects.get(node, STACK)),
        activated: Handle::from_number(objects.get(node, ACTIVATED)),
        by,
    }
}

fn tell(mistake: &Mistake) {
    WARNINGS.fetch_add(1, Relaxed);
    report!("{mistake}");
}

/// Asks the lock's holder for what becomes of an object: `f` gets its node, if it is known,
/// and whoever asks. What `f` finds wrong is reported.
fn step(
    at: VirtAddr,
    kind: ObjectType,
    what: &'static str,
    f: impl FnOnce(&mut Objects, Option<Node>, Option<Handle>) -> bool,
) {
    if !debug_objects_on() || hooks::is_busy() {
        return;
    }
    let by = stackdepot::save_here(true);
    let found = with_objects(|objects| {
        let node = objects.find(at);
        let before = match node {
            Some(node) => mistake(objects, node, what, by),
            None => Mistake {
                what,
                at,
                state: ObjectState::None,
                extra: 0,
                kind,
                init: None,
                activated: None,
                by,
            },
        };
        (!f(objects, node, by)).then_some(before)
    });
    if let Some(mistake) = found {
        tell(&mistake);
    }
}

/// Makes room to note one more object. Returns false if there is no memory for it.
fn make_room() -> bool {
    while with_objects(|objects| objects.is_full()) {
        let room = with_objects(|objects| !objects.is_at_limit());
        let block = if room { Objects::take_block() } else { None };
        let Some(block) = block else {
            if ON.swap(false, Relaxed) {
                report!("ODEBUG: Out of memory. ODEBUG disabled");
            }
            return false;
        };
        with_objects(|objects| objects.add_block(block));
    }
    true
}

fn track(
    objects: &mut Objects,
    at: VirtAddr,
    kind: ObjectType,
    by: Option<Handle>,
) -> Option<Node> {
    let node = objects.insert(at, 1)?;
    objects.set(node, KIND, kind as u32);
    objects.set(node, STACK, Handle::number(by));
    Some(node)
}

/// An object is initialised: it may be used from here on (Linux: debug_object_init).
pub fn debug_object_init(at: VirtAddr, kind: ObjectType) {
    if !debug_objects_on() || hooks::is_busy() || !make_room() {
        return;
    }
    step(at, kind, "init", |objects, node, by| {
        let Some(node) = node.or_else(|| track(objects, at, kind, by)) else { return true };
        match state(objects, node) {
            ObjectState::None | ObjectState::Init | ObjectState::Inactive => {
                objects.set(node, STATE, ObjectState::Init as u32);
                objects.set(node, STACK, Handle::number(by));
                objects.set(node, ACTIVATED, 0);
                true
            }
            ObjectState::Active | ObjectState::Destroyed => false,
        }
    });
}

/// An object is used from here on: others know its address (Linux: debug_object_activate).
pub fn debug_object_activate(at: VirtAddr, kind: ObjectType) {
    step(at, kind, "activate", |objects, node, by| {
        let Some(node) = node else { return false };
        match state(objects, node) {
            ObjectState::Init | ObjectState::Inactive => {
                objects.set(node, STATE, ObjectState::Active as u32);
                objects.set(node, ACTIVATED, Handle::number(by));
                true
            }
            _ => false,
        }
    });
}

/// Notes that an object is no longer in use (Linux: debug_object_deactivate).
pub fn debug_object_deactivate(at: VirtAddr, kind: ObjectType) {
    step(at, kind, "deactivate", |objects, node, _| {
        let Some(node) = node else { return false };
        let idle = objects.get(node, EXTRA) == 0;
        match state(objects, node) {
            ObjectState::Init | ObjectState::Inactive | ObjectState::Active if idle => {
                objects.set(node, STATE, ObjectState::Inactive as u32);
                true
            }
            _ => false,
        }
    });
}

/// An object is not to be used again (Linux: debug_object_destroy).
pub fn debug_object_destroy(at: VirtAddr, kind: ObjectType) {
    step(at, kind, "destroy", |objects, node, _| {
        // What nobody told of may be destroyed.
        let Some(node) = node else { return true };
        match state(objects, node) {
            ObjectState::None | ObjectState::Init | ObjectState::Inactive => {
                objects.set(node, STATE, ObjectState::Destroyed as u32);
                true
            }
            _ => false,
        }
    });
}

/// An object's memory is about to be used for something else (Linux: debug_object_free).
pub fn debug_object_free(at: VirtAddr, kind: ObjectType) {
    step(at, kind, "free", |objects, node, _| {
        let Some(node) = node else { return true };
        let fine = state(objects, node) != ObjectState::Active;
        if let Some(node) = objects.remove(objects.start(node)) {
            objects.free_node(node);
        }
        fine
    });
}

/// An object is used in a way that it has to be initialised for (Linux:
/// debug_object_assert_init).
pub fn debug_object_assert_init(at: VirtAddr, kind: ObjectType) {
    step(at, kind, "assert_init", |_, node, _| node.is_some());
}

/// An active object goes from one stage of its use, `expect`, to another (Linux:
/// debug_object_active_state).
pub fn debug_object_active_state(at: VirtAddr, kind: ObjectType, expect: u32, next: u32) {
    step(at, kind, "active_state", |objects, node, _| {
        let Some(node) = node else { return false };
        let fits =
            state(objects, node) == ObjectState::Active && objects.get(node, EXTRA) == expect;
        if fits {
            objects.set(node, EXTRA, next);
        }
        fits
    });
}

/// Returns the state of the object at `at`.
#[must_use]
pub fn debug_object_state(at: VirtAddr) -> ObjectState {
    with_objects(|objects| objects.find(at).map_or(ObjectState::None, |node| state(objects, node)))
}

/// Memory is about to be freed: no object in it may be active, and it knows none of them
/// afterwards (Linux: debug_check_no_obj_freed).
pub(super) fn check_no_obj_freed(at: VirtAddr, size: usize) {
    if size == 0 || !debug_objects_on() || hooks::is_busy() {
        return;
    }
    let end = at.saturating_add(size);
    let mut by = None;
    loop {
        let next = with_objects(|objects| objects.next(at).filter(|&n| objects.start(n) < end));
        if next.is_none() {
            return;
        }
        by = by.or_else(|| stackdepot::save_here(true));
        let found = with_objects(|objects| {
            let node = objects.next(at).filter(|&node| objects.start(node) < end)?;
            let found = mistake(objects, node, "free", by);
            let node = objects.remove(objects.start(node))?;
            objects.free_node(node);
            Some(found).filter(|found| found.state == ObjectState::Active)
        });
        if let Some(mistake) = found {
            tell(&mistake);
        }
    }
}
