/* mallopt, which Swift's own module of glibc leaves out. */
#include <malloc.h>
#include <sys/socket.h>
#include <uv.h>

/* glibc declares it under _GNU_SOURCE only, which must not be defined here: the layout of fd_set
   would then differ from that in Swift's own module of glibc. */
extern int accept4(int socket, struct sockaddr *address, socklen_t *length, int flags);
