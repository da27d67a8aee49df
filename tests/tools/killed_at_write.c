/*
 * Ends the process at its n-th change to a file: preloaded, then armed with n by the program itself.
 * What is counted: write(2) in all its forms, and what else makes a change last or visible; send(2) too,
 * by which a database server is told.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static long left;

void arm(long n) { left = n; }

static void count(void)
{
    if (left > 0 && --left == 0)
        kill(getpid(), SIGKILL);
}

#define WRAP(type, name, parameters, arguments)                  \
    type name parameters                                         \
    {                                                            \
        static type(*real) parameters;                           \
        if (!real)                                               \
            real = (type(*) parameters) dlsym(RTLD_NEXT, #name); \
        count();                                                 \
        return real arguments;                                   \
    }

WRAP(ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))
WRAP(ssize_t, pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
WRAP(ssize_t, pwrite64, (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at))
WRAP(ssize_t, writev, (int fd, const struct iovec *from, int parts), (fd, from, parts))
WRAP(ssize_t, send, (int fd, const void *from, size_t size, int how), (fd, from, size, how))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, unlink, (const char *path), (path))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, renameat, (int at, const char *from, int other, const char *to), (at, from, other, to))
WRAP(int, unlinkat, (int at, const char *path, int flags), (at, path, flags))
WRAP(int, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode))
