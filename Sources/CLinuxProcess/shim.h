#include <spawn.h>
#include <sys/syscall.h>
#include <unistd.h>

// syscall is variadic, which Swift does not see, and glibc declares its own wrappers of these two
// only under macros or in headers that Swift's module of it leaves out.

// A descriptor that is readable once the process has ended; -1 and errno when there is none.
static inline int keelson_process_descriptor(pid_t process) {
  return (int)syscall(SYS_pidfd_open, process, 0);
}

// A file in memory, closed in programs that are run (MFD_CLOEXEC); -1 and errno when there is none.
static inline int keelson_memory_file(const char *name) {
  return (int)syscall(SYS_memfd_create, name, 1u);
}

// glibc declares both under _GNU_SOURCE only, which Swift's modules do not define.
extern int posix_spawn_file_actions_addchdir_np(posix_spawn_file_actions_t *actions,
                                                const char *path);
extern int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int from);

// The program begins in a folder, with the descriptors below `from` only.
static inline int keelson_spawn_in(posix_spawn_file_actions_t *actions, const char *folder,
                                   int from) {
  int code = posix_spawn_file_actions_addclosefrom_np(actions, from);
  return code == 0 ? posix_spawn_file_actions_addchdir_np(actions, folder) : code;
}
