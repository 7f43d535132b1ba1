#include <curl/curl.h>

// curl_easy_setopt and curl_easy_getinfo are variadic and macros, which Swift does not see: one
// function for each type of argument.
static inline CURLcode keelson_curl_set_long(CURL *handle, CURLoption option, long value) {
  return curl_easy_setopt(handle, option, value);
}

static inline CURLcode keelson_curl_set_size(CURL *handle, CURLoption option, curl_off_t value) {
  return curl_easy_setopt(handle, option, value);
}

// libcurl copies the text, except that of CURLOPT_POSTFIELDS.
static inline CURLcode keelson_curl_set_text(CURL *handle, CURLoption option, const char *value) {
  return curl_easy_setopt(handle, option, value);
}

// libcurl keeps the pointer: what it points to outlives the transfer.
static inline CURLcode keelson_curl_set_pointer(CURL *handle, CURLoption option, void *value) {
  return curl_easy_setopt(handle, option, value);
}

static inline CURLcode keelson_curl_set_list(CURL *handle, CURLoption option,
                                             struct curl_slist *value) {
  return curl_easy_setopt(handle, option, value);
}

static inline CURLcode keelson_curl_set_receiver(CURL *handle, CURLoption option,
                                                 size_t (*receive)(char *, size_t, size_t,
                                                                   void *)) {
  return curl_easy_setopt(handle, option, receive);
}

// libcurl keeps the context: what it points to outlives the transfer.
static inline CURLcode keelson_curl_set_opener(CURL *handle, void *context,
                                               curl_socket_t (*open)(void *, curlsocktype,
                                                                     struct curl_sockaddr *)) {
  CURLcode code = curl_easy_setopt(handle, CURLOPT_OPENSOCKETDATA, context);
  return code == CURLE_OK ? curl_easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, open) : code;
}

static inline long keelson_curl_status(CURL *handle) {
  long status = 0;
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
  return status;
}

// CURL_GLOBAL_DEFAULT is a sum of macros.
static inline CURLcode keelson_curl_start(void) { return curl_global_init(CURL_GLOBAL_DEFAULT); }
