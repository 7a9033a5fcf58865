/* Preloaded under a process: it sees every change of a file below SHIM_ROOT, and can end or disturb it at one of them.
 *
 * SHIM_ROOT   folder, absolute; only what lies below is seen. `-shm` files are not: they never outlive their users.
 * SHIM_TRACE  file that gets a record of each operation once it has succeeded; see images.py for the form.
 * SHIM_KILL   "phase:n": SIGKILL before the n-th operation in the phase of that name.
 * SHIM_ERRNO  "errno:from:to": operations from..to of the whole run fail with that number and do nothing.
 *
 * The program under it may call `shim_phase` and `shim_mark`: what it tells stands in one order with its operations.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, ATTACH, WRITE, TRUNCATE, SYNC, SYNC_FOLDER, RENAME, UNLINK, MARK, MKDIR };
enum { DURABLE = 1 }; /* flag of WRITE: on disk when it returned */

struct record {
    uint8_t op, phase;
    uint16_t flags;
    uint32_t file;
    uint64_t offset;
    uint32_t length;
} __attribute__((packed));

struct seen { /* by descriptor */
    uint32_t file; /* 0: not watched */
    int durable;
    char *folder; /* of a descriptor of a folder */
};
struct known { /* by inode, while it has a name */
    dev_t dev;
    ino_t ino;
    uint32_t file;
};

#define MOST 4096
static struct seen seen[MOST];
static struct known known[MOST];
static unsigned known_count;
static uint32_t last_file;
static char root[PATH_MAX];
static size_t root_length;
static int trace = -1;
static char kill_phase[64];
static long kill_at, done_in_phase, done, fail_from, fail_to;
static int fail_with, in_kill_phase, phase;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("SHIM_ROOT");
    if (!text) return;
    snprintf(root, sizeof root, "%s", text);
    root_length = strlen(root);
    if ((text = getenv("SHIM_TRACE"))) {
        int low = syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        trace = fcntl(low, F_DUPFD_CLOEXEC, 900);
        syscall(SYS_close, low);
    }
    if ((text = getenv("SHIM_KILL"))) sscanf(text, "%63[^:]:%ld", kill_phase, &kill_at);
    if ((text = getenv("SHIM_ERRNO"))) sscanf(text, "%d:%ld:%ld", &fail_with, &fail_from, &fail_to);
}

static const char *below(const char *path) { /* the part behind the root, "" for itself, or NULL */
    if (!root_length || !path || strncmp(path, root, root_length)) return NULL;
    if (path[root_length] == 0) return path + root_length;
    if (path[root_length] != '/') return NULL;
    size_t length = strlen(path);
    if (length > 4 && !strcmp(path + length - 4, "-shm")) return NULL;
    return path + root_length + 1;
}

/* Before an operation: end here, or say that it is to fail. */
static int fails(void) {
    if (in_kill_phase && ++done_in_phase == kill_at) syscall(SYS_kill, getpid(), SIGKILL);
    done++;
    if (fail_with && done >= fail_from && done <= fail_to) {
        errno = fail_with;
        return 1;
    }
    return 0;
}

static void note(int op, int flags, uint32_t file, uint64_t offset, const struct iovec *parts, int count) {
    if (trace < 0) return;
    struct record head = {op, phase, flags, file, offset, 0};
    struct iovec all[18] = {{&head, sizeof head}};
    for (int i = 0; i < count && i < 17; i++) {
        all[i + 1] = parts[i];
        head.length += parts[i].iov_len;
    }
    int saved = errno;
    pthread_mutex_lock(&lock);
    if (syscall(SYS_writev, trace, all, count + 1) != (long)(sizeof head + head.length)) abort();
    pthread_mutex_unlock(&lock);
    errno = saved;
}

static void note_text(int op, uint32_t file, const char *text) {
    struct iovec part = {(void *)text, strlen(text)};
    note(op, 0, file, 0, &part, 1);
}

static void note_two(int op, const char *one, const char *two) {
    struct iovec parts[2] = {{(void *)one, strlen(one) + 1}, {(void *)two, strlen(two)}};
    note(op, 0, 0, 0, parts, 2);
}

static struct seen *watched(int fd) {
    return fd >= 0 && fd < MOST && (seen[fd].file || seen[fd].folder) ? &seen[fd] : NULL;
}

static struct seen *watched_file(int fd) {
    struct seen *one = watched(fd);
    return one && one->file ? one : NULL;
}

static void opened(int fd, const char *name, int flags, int existed) {
    struct stat found;
    if (fd < 0 || fd >= MOST || fstat(fd, &found)) return;
    struct seen *one = &seen[fd];
    memset(one, 0, sizeof *one);
    if (S_ISDIR(found.st_mode)) {
        one->folder = strdup(name);
        return;
    }
    if (!S_ISREG(found.st_mode)) return;
    unsigned at = 0;
    while (at < known_count && (known[at].dev != found.st_dev || known[at].ino != found.st_ino)) at++;
    if (at == known_count && known_count == MOST) abort();
    if (at == known_count || !existed) { /* an inode number is given again after its file is gone */
        known[at] = (struct known){found.st_dev, found.st_ino, ++last_file};
        if (at == known_count) known_count++;
        note_text(existed ? ATTACH : CREATE, last_file, name);
    }
    one->file = known[at].file;
    one->durable = (flags & O_DSYNC) != 0; /* O_SYNC has that bit, too */
    if (existed && (flags & O_TRUNC)) note(TRUNCATE, 0, one->file, 0, NULL, 0);
}

void shim_phase(int number, const char *name) {
    phase = number;
    in_kill_phase = kill_at && !strcmp(name, kill_phase);
}

void shim_mark(const char *text) { note_text(MARK, 0, text); }

/* -- opening and closing -- */

static int open_watched(int folder, const char *path, int flags, mode_t mode) {
    static int (*next)(int, const char *, int, ...);
    if (!next) next = REAL(openat);
    const char *name = path && path[0] == '/' ? below(path) : NULL;
    if (!name) return next(folder, path, flags, mode);
    int existed = !faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW);
    if (((flags & O_CREAT) && !existed) || (flags & O_TRUNC))
        if (fails()) return -1;
    int fd = next(folder, path, flags, mode);
    opened(fd, name, flags, existed);
    return fd;
}

#define OPEN(name)                                   \
    int name(const char *path, int flags, ...) {     \
        va_list more;                                \
        va_start(more, flags);                       \
        mode_t mode = va_arg(more, mode_t);          \
        va_end(more);                                \
        return open_watched(AT_FDCWD, path, flags, mode); \
    }
#define OPENAT(name)                                         \
    int name(int folder, const char *path, int flags, ...) { \
        va_list more;                                        \
        va_start(more, flags);                               \
        mode_t mode = va_arg(more, mode_t);                  \
        va_end(more);                                        \
        return open_watched(folder, path, flags, mode);      \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t mode) { return open_watched(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int fd) {
    struct seen *one = watched(fd);
    if (one) {
        free(one->folder);
        memset(one, 0, sizeof *one);
    }
    return REAL(close)(fd);
}

static int copied(int from, int to) {
    if (to >= 0 && to < MOST && from >= 0 && from < MOST) {
        seen[to] = seen[from];
        if (seen[to].folder) seen[to].folder = strdup(seen[to].folder);
    }
    return to;
}

int dup(int fd) { return copied(fd, REAL(dup)(fd)); }
int dup2(int fd, int to) { return copied(fd, REAL(dup2)(fd, to)); }
int dup3(int fd, int to, int flags) { return copied(fd, REAL(dup3)(fd, to, flags)); }

/* -- contents -- */

static ssize_t written(struct seen *one, ssize_t size, const void *data, off64_t at) {
    if (size > 0) {
        struct iovec part = {(void *)data, size};
        note(WRITE, one->durable ? DURABLE : 0, one->file, at, &part, 1);
    }
    return size;
}

static ssize_t written_parts(struct seen *one, ssize_t size, const struct iovec *parts, int count, off64_t at) {
    ssize_t left = size;
    for (int i = 0; i < count && left > 0; i++) {
        ssize_t length = left < (ssize_t)parts[i].iov_len ? left : (ssize_t)parts[i].iov_len;
        written(one, length, parts[i].iov_base, at + size - left);
        left -= length;
    }
    return size;
}

ssize_t write(int fd, const void *data, size_t size) {
    struct seen *one = watched_file(fd);
    if (!one) return REAL(write)(fd, data, size);
    off64_t at = lseek64(fd, 0, SEEK_CUR);
    if (fails()) return -1;
    return written(one, REAL(write)(fd, data, size), data, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    struct seen *one = watched_file(fd);
    if (!one) return REAL(writev)(fd, parts, count);
    off64_t at = lseek64(fd, 0, SEEK_CUR);
    if (fails()) return -1;
    return written_parts(one, REAL(writev)(fd, parts, count), parts, count, at);
}

#define PWRITE(name)                                                    \
    ssize_t name(int fd, const void *data, size_t size, off64_t at) {   \
        struct seen *one = watched_file(fd);                            \
        if (!one) return REAL(name)(fd, data, size, at);                \
        if (fails()) return -1;                                         \
        return written(one, REAL(name)(fd, data, size, at), data, at);  \
    }
#define PWRITEV(name)                                                               \
    ssize_t name(int fd, const struct iovec *parts, int count, off64_t at) {        \
        struct seen *one = watched_file(fd);                                        \
        if (!one) return REAL(name)(fd, parts, count, at);                          \
        if (fails()) return -1;                                                     \
        return written_parts(one, REAL(name)(fd, parts, count, at), parts, count, at); \
    }
#define PWRITEV2(name)                                                                  \
    ssize_t name(int fd, const struct iovec *parts, int count, off64_t at, int flags) { \
        struct seen *one = watched_file(fd);                                            \
        if (!one) return REAL(name)(fd, parts, count, at, flags);                       \
        if (fails()) return -1;                                                         \
        return written_parts(one, REAL(name)(fd, parts, count, at, flags), parts, count, at); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)
PWRITEV(pwritev)
PWRITEV(pwritev64)
PWRITEV2(pwritev2)
PWRITEV2(pwritev64v2)

#define FTRUNCATE(name)                                              \
    int name(int fd, off64_t size) {                                 \
        struct seen *one = watched_file(fd);                         \
        if (!one) return REAL(name)(fd, size);                       \
        if (fails()) return -1;                                      \
        int result = REAL(name)(fd, size);                           \
        if (!result) note(TRUNCATE, 0, one->file, size, NULL, 0);    \
        return result;                                               \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

static int cut(const char *path, off64_t size) { /* by name: rare, so by way of a descriptor */
    int fd = open_watched(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    int result = ftruncate64(fd, size);
    close(fd);
    return result;
}
int truncate(const char *path, off64_t size) { return below(path) ? cut(path, size) : REAL(truncate)(path, size); }
int truncate64(const char *path, off64_t size) { return below(path) ? cut(path, size) : REAL(truncate64)(path, size); }

#define SYNC_CALL(name)                                                    \
    int name(int fd) {                                                     \
        struct seen *one = watched(fd);                                    \
        if (!one) return REAL(name)(fd);                                   \
        if (fails()) return -1;                                            \
        int result = REAL(name)(fd);                                       \
        if (!result && one->folder) note_text(SYNC_FOLDER, 0, one->folder); \
        if (!result && one->file) note(SYNC, 0, one->file, 0, NULL, 0);    \
        return result;                                                     \
    }
SYNC_CALL(fsync)
SYNC_CALL(fdatasync)

/* -- names -- */

static int renamed(int result, const char *from, const char *to) {
    if (!result && below(from) && below(to)) note_two(RENAME, below(from), below(to));
    return result;
}

int rename(const char *from, const char *to) {
    if ((below(from) || below(to)) && fails()) return -1;
    return renamed(REAL(rename)(from, to), from, to);
}
int renameat(int one, const char *from, int two, const char *to) {
    if ((below(from) || below(to)) && fails()) return -1;
    return renamed(REAL(renameat)(one, from, two, to), from, to);
}
int renameat2(int one, const char *from, int two, const char *to, unsigned flags) {
    if ((below(from) || below(to)) && fails()) return -1;
    return renamed(REAL(renameat2)(one, from, two, to, flags), from, to);
}

static int unlinked(int result, const char *path) {
    if (!result && below(path)) note_text(UNLINK, 0, below(path));
    return result;
}

int unlink(const char *path) {
    if (below(path) && fails()) return -1;
    return unlinked(REAL(unlink)(path), path);
}
int unlinkat(int folder, const char *path, int flags) {
    if (below(path) && fails()) return -1;
    return unlinked(REAL(unlinkat)(folder, path, flags), path);
}

static int made(int result, const char *path) {
    if (!result && below(path)) note_text(MKDIR, 0, below(path));
    return result;
}

int mkdir(const char *path, mode_t mode) {
    if (below(path) && fails()) return -1;
    return made(REAL(mkdir)(path, mode), path);
}
int mkdirat(int folder, const char *path, mode_t mode) {
    if (below(path) && fails()) return -1;
    return made(REAL(mkdirat)(folder, path, mode), path);
}
