#pragma once
// Calls of Linux that Swift cannot reach: variadic, or without a wrapper in glibc. The feature macros must be those that
// Swift's own Glibc module is built with, so _GNU_SOURCE is not defined here and its constants are written out.
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LAMINA_O_PATH 010000000
#define LAMINA_FALLOC_FL_KEEP_SIZE 1
#define LAMINA_SEEK_DATA 3
#define LAMINA_SEEK_HOLE 4

// Opens `path` beneath `dirfd`: no links are followed, no `..` leads out.
static inline int lamina_open_beneath(int dirfd, const char *path, int flags, unsigned mode) {
    struct open_how how = {0};
    how.flags = (uint64_t)(unsigned)flags | O_CLOEXEC;
    how.mode = (flags & O_CREAT) ? mode : 0;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    return (int)syscall(SYS_openat2, dirfd, path, &how, sizeof how);
}

static inline int lamina_openat(int dirfd, const char *path, int flags, unsigned mode) {
    return openat(dirfd, path, flags | O_CLOEXEC, mode);
}

static inline int lamina_fallocate_keep_size(int fd, int64_t from, int64_t count) {
    return (int)syscall(SYS_fallocate, fd, LAMINA_FALLOC_FL_KEEP_SIZE, from, count);
}

static inline int64_t lamina_seek_data(int fd, int64_t from) { return lseek(fd, from, LAMINA_SEEK_DATA); }
static inline int64_t lamina_seek_hole(int fd, int64_t from) { return lseek(fd, from, LAMINA_SEEK_HOLE); }
static inline int lamina_o_path_directory(void) { return LAMINA_O_PATH | O_DIRECTORY; }
