#pragma once
// Calls of Linux that Swift cannot reach: variadic, or without a wrapper in glibc.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

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

static inline int lamina_fallocate_keep_size(int fd, off_t from, off_t count) {
    return fallocate(fd, FALLOC_FL_KEEP_SIZE, from, count);
}

static inline off_t lamina_seek_data(int fd, off_t from) { return lseek(fd, from, SEEK_DATA); }
static inline off_t lamina_seek_hole(int fd, off_t from) { return lseek(fd, from, SEEK_HOLE); }
static inline int lamina_o_path_directory(void) { return O_PATH | O_DIRECTORY; }
