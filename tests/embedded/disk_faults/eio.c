/* A disk that fails, for one process: loaded before libc (LD_PRELOAD), it answers EIO to calls on files below EIO_BELOW while the
 * file EIO_ORDER names them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int fails(int fd, const char *call) {
    const char *below = getenv("EIO_BELOW"), *order = getenv("EIO_ORDER");
    char calls[64] = {0}, link[64], path[4096] = {0};
    if (!below || !order)
        return 0;
    int saved = errno, file = open(order, O_RDONLY | O_CLOEXEC), is_ordered = 0;
    if (file >= 0) {
        is_ordered = read(file, calls, sizeof calls - 1) > 0 && strstr(calls, call);
        close(file);
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    is_ordered = is_ordered && readlink(link, path, sizeof path - 1) > 0 && !strncmp(path, below, strlen(below));
    errno = is_ordered ? EIO : saved;
    return is_ordered;
}

#define FAIL_OR(type, name, args, ...)                                                                                  \
    type name args {                                                                                                   \
        type(*real) args = (type(*) args)dlsym(RTLD_NEXT, #name);                                                       \
        return fails(fd, #name) ? -1 : real(__VA_ARGS__);                                                              \
    }

FAIL_OR(ssize_t, write, (int fd, const void *bytes, size_t length), fd, bytes, length)
FAIL_OR(ssize_t, writev, (int fd, const struct iovec *parts, int number), fd, parts, number)
FAIL_OR(ssize_t, pwrite, (int fd, const void *bytes, size_t length, off_t at), fd, bytes, length, at)
FAIL_OR(ssize_t, pwrite64, (int fd, const void *bytes, size_t length, off64_t at), fd, bytes, length, at)
FAIL_OR(int, fsync, (int fd), fd)
FAIL_OR(int, fdatasync, (int fd), fd)
