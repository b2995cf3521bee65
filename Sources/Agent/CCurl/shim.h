#pragma once
#include <curl/curl.h>
#include <netinet/in.h>
#include <string.h>

/* curl_easy_setopt and curl_easy_getinfo are variadic, which Swift does not import: one wrapper for each type of
 * argument. The parentheses keep the type-checking macros of curl.h out of the way. */
static inline CURLcode lamina_curl_set_long(CURL *handle, CURLoption option, long value) {
    return (curl_easy_setopt)(handle, option, value);
}
static inline CURLcode lamina_curl_set_offset(CURL *handle, CURLoption option, curl_off_t value) {
    return (curl_easy_setopt)(handle, option, value);
}
/* The string is copied. */
static inline CURLcode lamina_curl_set_string(CURL *handle, CURLoption option, const char *value) {
    return (curl_easy_setopt)(handle, option, value);
}
static inline CURLcode lamina_curl_set_pointer(CURL *handle, CURLoption option, void *value) {
    return (curl_easy_setopt)(handle, option, value);
}
static inline CURLcode lamina_curl_set_list(CURL *handle, CURLoption option, struct curl_slist *value) {
    return (curl_easy_setopt)(handle, option, value);
}
/* The bytes are copied. */
static inline CURLcode lamina_curl_set_blob(CURL *handle, CURLoption option, const void *bytes, size_t count) {
    struct curl_blob blob = {(void *)bytes, count, CURL_BLOB_COPY};
    return (curl_easy_setopt)(handle, option, &blob);
}
static inline CURLcode lamina_curl_set_data(CURL *handle, CURLoption option, curl_write_callback callback) {
    return (curl_easy_setopt)(handle, option, callback);
}
static inline CURLcode lamina_curl_set_progress(CURL *handle, curl_xferinfo_callback callback) {
    return (curl_easy_setopt)(handle, CURLOPT_XFERINFOFUNCTION, callback);
}
static inline CURLcode lamina_curl_set_open_socket(CURL *handle, curl_opensocket_callback callback) {
    return (curl_easy_setopt)(handle, CURLOPT_OPENSOCKETFUNCTION, callback);
}
static inline CURLcode lamina_curl_set_host_key(CURL *handle, curl_sshhostkeycallback callback) {
    return (curl_easy_setopt)(handle, CURLOPT_SSH_HOSTKEYFUNCTION, callback);
}
static inline CURLcode lamina_curl_get_offset(CURL *handle, CURLINFO info, curl_off_t *value) {
    return (curl_easy_getinfo)(handle, info, value);
}
static inline CURLcode lamina_curl_get_string(CURL *handle, CURLINFO info, const char **value) {
    return (curl_easy_getinfo)(handle, info, value);
}

/* The address and port that a socket is about to be connected to: 4 or 16 bytes in network order, or 0 for a family
 * that is neither IPv4 nor IPv6. `addr` is declared shorter than what it holds, hence the copies. */
static inline size_t lamina_curl_peer(
    const struct curl_sockaddr *peer, unsigned char bytes[16], unsigned int *port) {
    const unsigned char *raw = (const unsigned char *)&peer->addr;
    if (peer->family == AF_INET && peer->addrlen >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in v4;
        memcpy(&v4, raw, sizeof v4);
        memcpy(bytes, &v4.sin_addr, 4);
        *port = ntohs(v4.sin_port);
        return 4;
    }
    if (peer->family == AF_INET6 && peer->addrlen >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 v6;
        memcpy(&v6, raw, sizeof v6);
        memcpy(bytes, &v6.sin6_addr, 16);
        *port = ntohs(v6.sin6_port);
        return 16;
    }
    return 0;
}
