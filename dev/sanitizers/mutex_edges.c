// Shows the thread sanitizer what Swift's Mutex does when it is contended.
//
// An uncontended Mutex is locked and unlocked by atomic instructions in our own code, which the
// sanitizer sees. A contended one goes through these two functions of libswiftSynchronization,
// which was built without it: the kernel hands the lock over (FUTEX_LOCK_PI), no edge from the old
// owner to the new one is seen, and everything a Mutex guards looks like a race. This library,
// preloaded, stands before them and says what they do. It adds the edges of Mutex and nothing
// else: what no Mutex guards is still reported (race.swift shows it).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>

// There when the program was built with -sanitize=thread.
__attribute__((weak)) void __tsan_acquire(void *address);
__attribute__((weak)) void __tsan_release(void *address);

typedef __attribute__((swiftcall)) void lock_slow(
    uint32_t thread, __attribute__((swift_context)) void *handle);
typedef __attribute__((swiftcall)) void unlock_slow(__attribute__((swift_context)) void *handle);

// Synchronization._MutexHandle._lockSlow(Swift.UInt32)
#define LOCK_SLOW "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
// Synchronization._MutexHandle._unlockSlow()
#define UNLOCK_SLOW "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

lock_slow keelson_lock_slow __asm__(LOCK_SLOW);
unlock_slow keelson_unlock_slow __asm__(UNLOCK_SLOW);

static lock_slow *next_lock_slow;
static unlock_slow *next_unlock_slow;

// Looked up once, ahead of all threads. They are missing in a program without Mutex, which does
// not call them either.
__attribute__((constructor)) static void find_next(void) {
  next_lock_slow = (lock_slow *)dlsym(RTLD_NEXT, LOCK_SLOW);
  next_unlock_slow = (unlock_slow *)dlsym(RTLD_NEXT, UNLOCK_SLOW);
}

__attribute__((swiftcall)) void keelson_lock_slow(
    uint32_t thread, __attribute__((swift_context)) void *handle) {
  next_lock_slow(thread, handle);
  if (__tsan_acquire) __tsan_acquire(handle);
}

__attribute__((swiftcall)) void keelson_unlock_slow(
    __attribute__((swift_context)) void *handle) {
  if (__tsan_release) __tsan_release(handle);
  next_unlock_slow(handle);
}
