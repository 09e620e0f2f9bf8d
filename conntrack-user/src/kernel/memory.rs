//! What is freed goes back to the system.
#![expect(unsafe_code, reason = "mallopt(3) has no safe wrapper")]

/// Allocations from this size on are mappings of their own.
const OWN_MAPPING_BYTES: libc::c_int = 1 << 20;

/// Keeps glibc from raising that size by itself: after the kernel's types (25 MiB, needed once) are freed it would
/// be 32 MiB, and what the live table leaves behind when it grows would stay as a hole in the heap.
pub fn give_back() {
    // SAFETY: sets one number of the allocator.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING_BYTES) };
}
