"""The thread behind UNLINK and FLUSHALL ASYNC; see reaper.pxd."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from protocol.native cimport out_of_memory
from shards.memory.blob cimport Blob, blob_release
from shards.memory.allocation cimport Pool
from shards.keyspace.store cimport Database, database_free
from shards.types.kinds cimport EntryEncoding, TypeHooks

cdef extern from "<pthread.h>" nogil:
    int pthread_create(pthread_t *, const void *, void *(*)(void *) noexcept nogil, void *)
    int pthread_join(pthread_t, void **)
    int pthread_mutex_init(pthread_mutex_t *, const void *)
    int pthread_mutex_destroy(pthread_mutex_t *)
    int pthread_mutex_lock(pthread_mutex_t *)
    int pthread_mutex_unlock(pthread_mutex_t *)
    int pthread_cond_init(pthread_cond_t *, const void *)
    int pthread_cond_destroy(pthread_cond_t *)
    int pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *)
    int pthread_cond_signal(pthread_cond_t *)

cdef enum:
    QUEUE_MAX = 65536


cdef void destroy(Garbage *garbage) noexcept nogil:
    cdef Pool nobody
    if garbage.blob != NULL:
        blob_release(garbage.blob)
    if garbage.value != NULL:
        memset(&nobody, 0, sizeof(nobody))
        garbage.hooks.free(&nobody, garbage.encoding, garbage.value)
    if garbage.database != NULL:
        database_free(garbage.database)
    free(garbage)


cdef void *run(void *context) noexcept nogil:
    cdef Reaper *reaper = <Reaper *>context
    cdef Garbage *garbage
    pthread_mutex_lock(&reaper.mutex)
    while True:
        garbage = reaper.first
        if garbage == NULL:
            if reaper.stopping:
                break
            pthread_cond_wait(&reaper.changed, &reaper.mutex)
            continue
        reaper.first = garbage.next
        if reaper.first == NULL:
            reaper.last = NULL
        pthread_mutex_unlock(&reaper.mutex)
        destroy(garbage)
        pthread_mutex_lock(&reaper.mutex)
        reaper.waiting -= 1
        reaper.freed += 1
    pthread_mutex_unlock(&reaper.mutex)
    return NULL


cdef Reaper *reaper_start() noexcept nogil:
    cdef Reaper *reaper = <Reaper *>calloc(1, sizeof(Reaper))
    if reaper == NULL:
        out_of_memory(sizeof(Reaper))
    pthread_mutex_init(&reaper.mutex, NULL)
    pthread_cond_init(&reaper.changed, NULL)
    if pthread_create(&reaper.thread, NULL, run, reaper) != 0:
        pthread_cond_destroy(&reaper.changed)
        pthread_mutex_destroy(&reaper.mutex)
        free(reaper)
        return NULL
    return reaper


cdef void reaper_stop(Reaper *reaper) noexcept nogil:
    if reaper == NULL:
        return
    pthread_mutex_lock(&reaper.mutex)
    reaper.stopping = True
    pthread_cond_signal(&reaper.changed)
    pthread_mutex_unlock(&reaper.mutex)
    pthread_join(reaper.thread, NULL)
    pthread_cond_destroy(&reaper.changed)
    pthread_mutex_destroy(&reaper.mutex)
    free(reaper)


cdef Garbage *garbage_new() noexcept nogil:
    cdef Garbage *garbage = <Garbage *>calloc(1, sizeof(Garbage))
    if garbage == NULL:
        out_of_memory(sizeof(Garbage))
    return garbage


cdef void hand_over(Reaper *reaper, Garbage *garbage) noexcept nogil:
    cdef bint full
    pthread_mutex_lock(&reaper.mutex)
    full = reaper.waiting >= QUEUE_MAX
    if not full:
        if reaper.last == NULL:
            reaper.first = garbage
        else:
            reaper.last.next = garbage
        reaper.last = garbage
        reaper.waiting += 1
        pthread_cond_signal(&reaper.changed)
    pthread_mutex_unlock(&reaper.mutex)
    if full:
        destroy(garbage)


cdef void reaper_free_blob(Reaper *reaper, Blob *blob) noexcept nogil:
    cdef Garbage *garbage = garbage_new()
    garbage.blob = blob
    hand_over(reaper, garbage)


cdef void reaper_free_value(Reaper *reaper, const TypeHooks *hooks, EntryEncoding encoding,
                            void *value) noexcept nogil:
    cdef Garbage *garbage = garbage_new()
    garbage.value = value
    garbage.hooks = hooks
    garbage.encoding = encoding
    hand_over(reaper, garbage)


cdef void reaper_free_database(Reaper *reaper, Database *database) noexcept nogil:
    cdef Garbage *garbage = garbage_new()
    garbage.database = database
    hand_over(reaper, garbage)


cdef uint64_t reaper_waiting(Reaper *reaper) noexcept nogil:
    cdef uint64_t waiting
    pthread_mutex_lock(&reaper.mutex)
    waiting = reaper.waiting
    pthread_mutex_unlock(&reaper.mutex)
    return waiting


cdef uint64_t reaper_freed(Reaper *reaper) noexcept nogil:
    cdef uint64_t freed
    pthread_mutex_lock(&reaper.mutex)
    freed = reaper.freed
    pthread_mutex_unlock(&reaper.mutex)
    return freed
