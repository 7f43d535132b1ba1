/* The reader of replies only: the bytes are read and written by our own sockets. */
#include <hiredis/read.h>
