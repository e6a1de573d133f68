# Sourced by the scripts that need certificates: makes a small authority and what it issues, with openssl.
# shellcheck shell=bash

EC=(ec -pkeyopt ec_paramgen_curve:prime256v1)

# issue DIR NAME SUBJECT EXTENSION...: NAME.pem and NAME.key in DIR, issued by the authority there. KEY=(rsa:2048) makes
# an RSA key instead of an elliptic one.
issue() {
    local dir=$1 name=$2 subject=$3 extension extensions=() key=("${KEY[@]:-${EC[@]}}")
    shift 3
    for extension in basicConstraints=critical,CA:FALSE "$@"; do extensions+=(-addext "$extension"); done
    quietly openssl req -x509 -config "$dir/openssl.cnf" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -days 3650 -nodes \
        -newkey "${key[@]}" -subj "$subject" "${extensions[@]}" \
        -keyout "$dir/$name.key" -out "$dir/$name.pem"
}

# make_certificates DIR: an authority (ca), a server on this machine (server), and a client (client).
make_certificates() {
    local dir=$1
    [[ ! -e $dir/client.pem ]] || return 0
    mkdir -p "$dir"
    printf '[req]\ndistinguished_name=subject\n[subject]\n' >"$dir/openssl.cnf"
    quietly openssl req -x509 -config "$dir/openssl.cnf" -days 3650 -nodes -newkey "${EC[@]}" \
        -subj "/CN=surgetank test authority" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$dir/ca.key" -out "$dir/ca.pem"
    issue "$dir" server /CN=localhost subjectAltName=DNS:localhost,IP:127.0.0.1 extendedKeyUsage=serverAuth
    issue "$dir" client /CN=surgetank subjectAltName=DNS:surgetank extendedKeyUsage=clientAuth
    # Kafka and Cassandra want key and certificate in one file.
    cat "$dir/server.key" "$dir/server.pem" >"$dir/server-with-key.pem"
}
