//! How the process's allocator treats the large buffers that logs, records and storage are made of.

/// Buffers from so many bytes on are given back to the system as soon as they are freed.
const MAPPED_BYTES_MIN: i32 = 1024 * 1024;

/// Has large buffers given back when they are freed. By itself glibc raises its bound with each that is
/// freed, up to 32 MiB, and then keeps them in its heaps, one for each thread, with holes that nothing fits
/// (mallopt(3), glibc 2.36): a transaction of 1,500,000 rows from MySQL took 113 MB at its peak, with this
/// 83 MB.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "glibc's setting has no safe form")]
pub(crate) fn give_back_large_buffers() {
    // SAFETY: mallopt(3) takes two numbers, touches no memory of ours, and may be called at any time.
    if unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN) } == 0 {
        tracing::debug!("the allocator keeps its bound for large buffers");
    }
}

/// Other allocators have rules of their own.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back_large_buffers() {}
