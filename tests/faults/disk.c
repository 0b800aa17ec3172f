/* Stands between a process and the C library: writes down what the process changes below one
   folder, as long as it is told to, and lets any of these calls fail, tear, or be the last; and, if
   it is told to, what the process asks of the server that it is connected to.

   A record is a `struct head`, then a path, a second path and the bytes that were written. Calls of
   several threads are taken one after the other, so that the order of records is that of events. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FILES = 4096 };
enum { FAILS, TEARS, IS_SHORT, FAILS_LATE, DIES, DIES_TORN };

struct head {
    uint64_t kind, inode, offset, path_bytes, path2_bytes, bytes;
};

static char root[PATH_MAX];
static size_t root_bytes;
static int tape = -1;
static long calls, first_fault = -1, last_fault = -1;
static int fault_error, fault_mode;
static int counts_sockets;
static unsigned char is_ours[FILES], is_connected[FILES];
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

#define REAL(type, name, ...)                              \
    static type (*real)(__VA_ARGS__);                      \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static ssize_t real_write(int fd, const void *from, size_t bytes) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return real(fd, from, bytes);
}

static ssize_t real_pwrite(int fd, const void *from, size_t bytes, off_t offset) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off_t);
    return real(fd, from, bytes, offset);
}

/* What the tests call. */

void disk_watch(const char *folder) {
    root_bytes = strlen(folder);
    memcpy(root, folder, root_bytes + 1);
}

void disk_watch_sockets(void) { counts_sockets = 1; }

void disk_record(int fd) { tape = fd; }

void disk_fail(long first, long last, int error, int mode) {
    calls = 0;
    first_fault = first;
    last_fault = last;
    fault_error = error;
    fault_mode = mode;
}

long disk_calls(void) { return calls; }

static void tell(int kind, uint64_t inode, uint64_t offset, const char *path, const char *path2,
                 const void *from, size_t bytes) {
    if (tape < 0) return;
    struct head head = {kind, inode, offset, strlen(path), strlen(path2), bytes};
    real_write(tape, &head, sizeof head);
    real_write(tape, path, head.path_bytes);
    real_write(tape, path2, head.path2_bytes);
    real_write(tape, from, bytes);
}

void disk_mark(const char *text) {
    pthread_mutex_lock(&turn);
    tell('A', 0, 0, text, "", "", 0);
    pthread_mutex_unlock(&turn);
}

/* What stands before each call. */

/* The name below the folder, NULL for any other; memory that SQLite shares is never on a disk. */
static const char *below(const char *path) {
    if (!root_bytes || strncmp(path, root, root_bytes)) return NULL;
    if (!path[root_bytes]) return "";
    size_t bytes = strlen(path);
    if (path[root_bytes] != '/' || (bytes > 4 && !strcmp(path + bytes - 4, "-shm"))) return NULL;
    return path + root_bytes + 1;
}

static int watches(int fd) { return root_bytes && fd >= 0 && fd < FILES && is_ours[fd]; }

/* The call that is being made: how many of its bytes are written, and how it ends. */
struct call {
    size_t bytes;
    int is_struck, is_late, error;
};

static struct call begin(size_t bytes) {
    pthread_mutex_lock(&turn);
    struct call call = {bytes, calls >= first_fault && calls <= last_fault, 0, fault_error};
    calls++;
    if (!call.is_struck) return call;
    switch (fault_mode) {
    case DIES:
        kill(getpid(), SIGKILL);
        for (;;) pause();
    case IS_SHORT:
        call.is_struck = 0;
        call.bytes = bytes - bytes / 2;
        break;
    case TEARS:
    case DIES_TORN:
        call.bytes = bytes / 2;
        break;
    case FAILS_LATE:
        call.is_late = 1;
        break;
    default:
        call.bytes = 0;
    }
    return call;
}

static ssize_t end(struct call call, ssize_t result) {
    if (call.is_struck && fault_mode == DIES_TORN) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    int error = call.is_struck ? call.error : errno;
    pthread_mutex_unlock(&turn);
    errno = error;
    return call.is_struck ? -1 : result;
}

static int is_made(struct call call) { return !call.is_struck || call.is_late; }

static uint64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

/* The calls. */

static int open_any(const char *path, int flags, mode_t mode) {
    REAL(int, "open64", const char *, int, ...);
    const char *name = below(path);
    struct stat found;
    int is_there = !stat(path, &found);
    int only_reads = (flags & O_ACCMODE) == O_RDONLY && !(is_there && S_ISDIR(found.st_mode));
    if (!name || only_reads) return real(path, flags, mode);
    struct call call = begin(0);
    int fd = -1;
    if (is_made(call)) {
        int is_new = (flags & O_CREAT) && stat(path, &found);
        fd = real(path, flags, mode);
        if (fd >= 0 && is_new) tell('C', inode_of(fd), 0, name, "", "", 0);
        if (fd >= 0 && !is_new && (flags & O_TRUNC)) tell('T', inode_of(fd), 0, name, "", "", 0);
    }
    if (call.is_struck && fd >= 0) close(fd);
    if (!call.is_struck && fd >= 0 && fd < FILES) is_ours[fd] = 1;
    return end(call, fd);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_any(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open_any(path, flags, mode);
}

int close(int fd) {
    REAL(int, "close", int);
    if (fd >= 0 && fd < FILES) is_ours[fd] = is_connected[fd] = 0;
    return real(fd);
}

static ssize_t write_any(int fd, const void *from, size_t bytes, off_t offset, int is_at) {
    struct call call = begin(bytes);
    ssize_t written = 0;
    if (call.bytes || !call.is_struck) {
        if (!is_at && (fcntl(fd, F_GETFL) & O_APPEND)) {
            struct stat found;
            fstat(fd, &found);
            offset = found.st_size;
        } else if (!is_at) {
            offset = lseek(fd, 0, SEEK_CUR);
        }
        written = is_at ? real_pwrite(fd, from, call.bytes, offset)
                        : real_write(fd, from, call.bytes);
        if (written > 0) tell('W', inode_of(fd), offset, "", "", from, written);
    }
    return end(call, written);
}

ssize_t write(int fd, const void *from, size_t bytes) {
    return watches(fd) ? write_any(fd, from, bytes, 0, 0) : real_write(fd, from, bytes);
}

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t offset) {
    return watches(fd) ? write_any(fd, from, bytes, offset, 1)
                       : real_pwrite(fd, from, bytes, offset);
}

ssize_t pwrite64(int fd, const void *from, size_t bytes, off_t offset) {
    return pwrite(fd, from, bytes, offset);
}

int ftruncate64(int fd, off_t bytes) {
    REAL(int, "ftruncate64", int, off_t);
    if (!watches(fd)) return real(fd, bytes);
    struct call call = begin(0);
    int result = is_made(call) ? real(fd, bytes) : 0;
    if (is_made(call) && !result) tell('T', inode_of(fd), bytes, "", "", "", 0);
    return end(call, result);
}

int ftruncate(int fd, off_t bytes) { return ftruncate64(fd, bytes); }

static int sync_any(int fd, int (*real)(int)) {
    struct call call = begin(0);
    int result = is_made(call) ? real(fd) : 0;
    if (is_made(call) && !result) tell('S', inode_of(fd), 0, "", "", "", 0);
    return end(call, result);
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    return watches(fd) ? sync_any(fd, real) : real(fd);
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    return watches(fd) ? sync_any(fd, real) : real(fd);
}

/* A sync that the kernel is asked for and tells of later. It counts as made when that is told, so
   that who does not wait for it is found out. There is one at a time. */

static int asked = -1;

long syscall(long number, ...) {
    REAL(long, "syscall", long, ...);
    long given[6];
    va_list rest;
    va_start(rest, number);
    for (int n = 0; n < 6; n++) given[n] = va_arg(rest, long);
    va_end(rest);
    long result = real(number, given[0], given[1], given[2], given[3], given[4], given[5]);
    if (number == SYS_io_submit && result == 1) asked = (*(struct iocb **)given[2])->aio_fildes;
    if (number == SYS_io_getevents && result == 1 && watches(asked) && fdatasync(asked))
        ((struct io_event *)given[3])->res = -errno;
    return result;
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    if (!below(from) || !below(to)) return real(from, to);
    struct call call = begin(0);
    int result = is_made(call) ? real(from, to) : 0;
    if (is_made(call) && !result) tell('R', 0, 0, below(from), below(to), "", 0);
    return end(call, result);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    const char *name = below(path);
    if (!name) return real(path);
    struct call call = begin(0);
    int result = is_made(call) ? real(path) : 0;
    if (is_made(call) && !result) tell('U', 0, 0, name, "", "", 0);
    return end(call, result);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    if (!below(path)) return real(path, mode);
    struct call call = begin(0);
    int result = is_made(call) ? real(path, mode) : 0;
    struct stat found;
    if (is_made(call) && !result && !stat(path, &found))
        tell('M', found.st_ino, 0, below(path), "", "", 0);
    return end(call, result);
}

/* What is asked of a server. Where a call fails the connection is over, for the server too. */

static int talks(int fd) { return fd >= 0 && fd < FILES && is_connected[fd]; }

static ssize_t end_talk(struct call call, int fd, ssize_t result) {
    if (call.is_struck) shutdown(fd, SHUT_RDWR);
    call.error = ECONNRESET;
    return end(call, result);
}

int connect(int fd, const struct sockaddr *to, socklen_t bytes) {
    REAL(int, "connect", int, const struct sockaddr *, socklen_t);
    if (!counts_sockets || fd < 0 || fd >= FILES) return real(fd, to, bytes);
    struct call call = begin(0);
    int result = is_made(call) ? real(fd, to, bytes) : 0;
    is_connected[fd] = 1;
    return end_talk(call, fd, result);
}

ssize_t send(int fd, const void *from, size_t bytes, int flags) {
    REAL(ssize_t, "send", int, const void *, size_t, int);
    if (!talks(fd)) return real(fd, from, bytes, flags);
    struct call call = begin(bytes);
    ssize_t sent = call.bytes || !call.is_struck ? real(fd, from, call.bytes, flags) : 0;
    return end_talk(call, fd, sent);
}

ssize_t recv(int fd, void *into, size_t bytes, int flags) {
    REAL(ssize_t, "recv", int, void *, size_t, int);
    if (!talks(fd)) return real(fd, into, bytes, flags);
    struct call call = begin(bytes);
    ssize_t got = call.bytes || !call.is_struck ? real(fd, into, call.bytes, flags) : 0;
    return end_talk(call, fd, got);
}
