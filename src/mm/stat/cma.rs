//! debugfs cma/ (Linux: mm/cma_debug.c).

use crate::mm::cma::Cma;
use core::fmt;

/// cma/NAME/bitmap: a bit for each unit of the area, set where it is allocated, as decimal
/// numbers of 32 bits.
pub struct CmaBitmap(pub &'static Cma);

impl fmt::Display for CmaBitmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut n = 0;
        // The area's lock is taken for each word: the text may be longer than it is to be held.
        while let Some(word) = self.0.bitmap_word(n) {
            write!(f, "{}{word}", if n == 0 { "" } else { " " })?;
            n += 1;
        }
        writeln!(f)
    }
}
