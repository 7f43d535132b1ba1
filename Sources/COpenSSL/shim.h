#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

// The SSL_OP_ constants are made by a macro with a parameter, which Swift does not see.
static inline uint64_t keelson_ssl_strict_options(void) {
  return SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
         SSL_OP_PRIORITIZE_CHACHA;
}

// EVP_EC_gen is a macro over a variadic function.
static inline EVP_PKEY *keelson_make_p256_key(void) { return EVP_EC_gen("P-256"); }

// EVP_PKEY_Q_keygen is variadic.
static inline EVP_PKEY *keelson_make_ed25519_key(void) {
  return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
}

// Swift cannot keep the strings alive that an array of OSSL_PARAM points to.
static inline int keelson_begin_hmac_sha256(EVP_MAC_CTX *context, const unsigned char *key,
                                            size_t key_bytes) {
  char digest[] = "SHA256";
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end()};
  return EVP_MAC_init(context, key, key_bytes, parameters);
}

// XN_FLAG_RFC2253 is a sum of macros, which Swift does not see. Without the escape of what is not
// ASCII: the text is shown as UTF-8.
static inline unsigned long keelson_name_flags(void) {
  return (XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) | ASN1_STRFLGS_UTF8_CONVERT;
}
