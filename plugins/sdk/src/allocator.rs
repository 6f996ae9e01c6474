//! The allocator of a plugin: most of what a call allocates is small, and lives only until its end.
//!
//! Sizes up to [`LARGEST`] are rounded up to a power of two, and what is freed waits in a list of its size for the next who
//! wants one: a few instructions, where the allocator of the standard library needs a hundred. It keeps everything else, and
//! hands out what the lists are made of. Nothing is given back to it, so an instance holds what it needed at most of each
//! size.
#![cfg_attr(not(target_family = "wasm"), allow(dead_code, reason = "elsewhere only its tests use it"))]
#![expect(unsafe_code, reason = "an allocator hands out memory; what holds for its lists is said at `Lists`")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::UnsafeCell,
    ptr,
};

#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: Lists = Lists::new();

const SMALLEST: usize = 16;
const LARGEST: usize = 4096;
const SIZES: usize = (LARGEST / SMALLEST).ilog2() as usize + 1;

/// What is asked of the standard library's allocator at once, for sizes below it.
const SLAB: usize = 1024;

/// For each size the first of its free blocks.
///
/// What holds between two calls: each block in list `n` is `SMALLEST << n` bytes that begin at a multiple of that, belongs
/// to nobody, is in no list twice, and begins with a pointer to the next one, null in the last.
struct Lists(UnsafeCell<[*mut Block; SIZES]>);

struct Block {
    next: *mut Self,
}

// SAFETY: WebAssembly without threads has one thread; natively only tests make one, each its own.
unsafe impl Sync for Lists {}

/// The list for this size and alignment; none for large ones.
#[inline]
fn list(layout: &Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(SMALLEST);
    (size <= LARGEST).then(|| (size - 1).ilog2() as usize + 1 - SMALLEST.ilog2() as usize)
}

impl Lists {
    const fn new() -> Self {
        Self(UnsafeCell::new([ptr::null_mut(); SIZES]))
    }

    /// Puts fresh blocks into an empty list. Null when there is no memory.
    #[cold]
    fn fill(&self, list: usize) -> *mut Block {
        let size = SMALLEST << list;
        let Ok(slab) = Layout::from_size_align(size.max(SLAB), size) else { return ptr::null_mut() };
        // SAFETY: its size is not zero.
        let start = unsafe { System.alloc(slab) };
        if start.is_null() {
            return ptr::null_mut();
        }
        let mut first = ptr::null_mut();
        for place in (0..slab.size() / size).rev() {
            // SAFETY: it lies in the slab, whose alignment is that of a block at each multiple of `size`.
            unsafe {
                let block = start.add(place * size).cast::<Block>();
                block.write(Block { next: first });
                first = block;
            }
        }
        first
    }
}

// SAFETY: what is handed out was in a list, so that it is large enough, aligned and nobody else's; or it is the standard
// library's, which gets back what it gave, since the layout alone decides between the two.
unsafe impl GlobalAlloc for Lists {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise; no reference to the lists outlives a line; a block in a list has a valid `next`.
        unsafe {
            let Some(list) = list(&layout) else { return System.alloc(layout) };
            let mut block = (*self.0.get())[list];
            if block.is_null() {
                block = self.fill(list);
                if block.is_null() {
                    return ptr::null_mut();
                }
            }
            (*self.0.get())[list] = (*block).next;
            block.cast()
        }
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back what `alloc` gave for the same layout, and uses it no more.
        unsafe {
            let Some(list) = list(&layout) else { return System.dealloc(memory, layout) };
            let block = memory.cast::<Block>();
            block.write(Block { next: (*self.0.get())[list] });
            (*self.0.get())[list] = block;
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size is not zero and that the layout is possible.
        unsafe {
            let wanted = Layout::from_size_align_unchecked(size, layout.align());
            match (list(&layout), list(&wanted)) {
                (None, None) => System.realloc(memory, layout, size),
                (Some(had), Some(needs)) if had == needs => memory,
                _ => {
                    let moved = self.alloc(wanted);
                    if !moved.is_null() {
                        ptr::copy_nonoverlapping(memory, moved, layout.size().min(size));
                        self.dealloc(memory, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn sizes_have_lists() {
        let list = |size, align| list(&Layout::from_size_align(size, align).unwrap());
        assert_eq!([list(1, 1), list(16, 8), list(17, 1), list(32, 1), list(1, 64)], [0, 0, 1, 1, 2].map(Some));
        assert_eq!([list(4095, 1), list(4096, 1), list(4097, 1), list(1, 8192)], [Some(8), Some(8), None, None]);
    }

    /// Whatever is asked for in whatever order: blocks are aligned, keep what is written to them, and come back.
    #[test]
    fn blocks_are_apart_and_used_again() {
        let lists = Lists::new();
        let mut random = 1_u64;
        let mut below = |end: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % end
        };
        let (mut held, mut seen) = (Vec::<(*mut u8, Layout, u8)>::new(), BTreeSet::new());
        for turn in 0..20_000 {
            // SAFETY: layouts are those that the memory was got with.
            unsafe {
                if held.len() > 50 || turn > 19_900 && !held.is_empty() {
                    let (memory, layout, mark) = held.swap_remove(below(held.len()));
                    assert!((0..layout.size()).all(|place| *memory.add(place) == mark));
                    if below(2) == 0 {
                        lists.dealloc(memory, layout);
                        continue;
                    }
                    let size = 1 + below(6000);
                    let moved = lists.realloc(memory, layout, size);
                    assert!((0..layout.size().min(size)).all(|place| *moved.add(place) == mark));
                    lists.dealloc(moved, Layout::from_size_align(size, layout.align()).unwrap());
                    continue;
                }
                let size = 1 + [below(40), below(400), below(5000)][below(3)];
                let layout = Layout::from_size_align(size, 1 << below(7)).unwrap();
                let memory = lists.alloc(layout);
                assert_eq!(memory.addr() % layout.align(), 0);
                let mark = below(256) as u8;
                memory.write_bytes(mark, size);
                held.push((memory, layout, mark));
                if list(&layout).is_some() && turn > 10_000 {
                    seen.insert(memory.addr());
                }
            }
        }
        // Ten thousand turns with fifty blocks at a time touch no more than what fifty of each size need.
        assert!(seen.len() < 1500, "{}", seen.len());
    }
}
