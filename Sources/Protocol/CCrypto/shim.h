#pragma once
// The SHA256_* calls are marked as old, but only they show their state, which a resumed transfer must keep.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/sha.h>
