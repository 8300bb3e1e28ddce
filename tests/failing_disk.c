/* A disk that fails, for tests: preloaded into a process, it makes calls on files below a folder fail.
 *
 *     LD_PRELOAD=failing_disk.so  FAILING_DISK="FOLDER OPERATION AFTER ERRNO"
 *
 * OPERATION is write, fsync, rename or open (of a file that is to be written, and mkdir). The first AFTER calls succeed,
 * all later ones fail, as those of a drive that was pulled out do. A process may set it anew by failing_disk(), and ask
 * by failing_disk_hits() how many calls have failed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX], operation[16];
static int after, failure, hits;

void failing_disk(const char *below, const char *what, int successes, int error) {
    snprintf(folder, sizeof folder, "%s", below);
    snprintf(operation, sizeof operation, "%s", what);
    after = successes, failure = error, hits = 0;
}

int failing_disk_hits(void) { return hits; }

__attribute__((constructor)) static void begin(void) {
    char below[PATH_MAX], what[16];
    int successes, error;
    const char *given = getenv("FAILING_DISK");
    if (given && sscanf(given, "%4095s %15s %d %d", below, what, &successes, &error) == 4)
        failing_disk(below, what, successes, error);
}

static int fails(const char *what, const char *path) {
    if (!folder[0] || strcmp(operation, what) || strncmp(path, folder, strlen(folder))) return 0;
    if (after-- > 0) return 0;
    after = 0, hits++, errno = failure;
    return 1;
}

static int fails_on(const char *what, int descriptor) {
    char link[64], path[PATH_MAX];
    if (!folder[0] || strcmp(operation, what)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return fails(what, path);
}

#define NEXT(name) static __typeof__(name) *next; if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int d, const void *data, size_t size) { NEXT(write); return fails_on("write", d) ? -1 : next(d, data, size); }
ssize_t pwrite(int d, const void *data, size_t n, off_t at) { NEXT(pwrite); return fails_on("write", d) ? -1 : next(d, data, n, at); }
ssize_t writev(int d, const struct iovec *v, int n) { NEXT(writev); return fails_on("write", d) ? -1 : next(d, v, n); }
int fsync(int d) { NEXT(fsync); return fails_on("fsync", d) ? -1 : next(d); }
int fdatasync(int d) { NEXT(fdatasync); return fails_on("fsync", d) ? -1 : next(d); }
int rename(const char *from, const char *to) { NEXT(rename); return fails("rename", to) ? -1 : next(from, to); }
int renameat(int a, const char *from, int b, const char *to) { NEXT(renameat); return fails("rename", to) ? -1 : next(a, from, b, to); }
int mkdir(const char *path, mode_t mode) { NEXT(mkdir); return fails("open", path) ? -1 : next(path, mode); }
int mkdirat(int d, const char *path, mode_t mode) { NEXT(mkdirat); return fails("open", path) ? -1 : next(d, path, mode); }

#define WRITES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT))
#define MODE(flags) mode_t mode = 0; if ((flags) & O_CREAT) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) { NEXT(open); MODE(flags) return WRITES(flags) && fails("open", path) ? -1 : next(path, flags, mode); }
int open64(const char *path, int flags, ...) { NEXT(open64); MODE(flags) return WRITES(flags) && fails("open", path) ? -1 : next(path, flags, mode); }
int openat(int d, const char *path, int flags, ...) { NEXT(openat); MODE(flags) return WRITES(flags) && fails("open", path) ? -1 : next(d, path, flags, mode); }
