# needs: no-ipv6
# A kernel that was booted without IPv6: what IPv4 can do works, the rest is refused with the reason.
. "$GUEST/cases.sh"
. "$GUEST/unit-tests.sh"
[ ! -e /proc/sys/net/ipv6 ] || fail "this kernel has IPv6"
for image in busybox debian; do rctr pull -q $image; done
serve='echo hi > /index; exec httpd -f -p 80 -h /'
rctr run -d --name web -p 8080:80 busybox sh -c "$serve" >/dev/null
# Not by busybox: a static glibc's getaddrinfo crashes without IPv6.
get() { curl -sf -m 5 "http://$1/index"; }
until_true 30 get 127.0.0.1:8080
same "$(get 127.0.0.1:8080)" hi
same "$(rctr port web)" "80/tcp -> 0.0.0.0:8080"
rctr rm -f web >/dev/null

directory=$(mktemp -d)
printf 'FROM busybox\nRUN ip route | grep -q default && echo built > /made\nCMD ["cat", "/made"]\n' > "$directory/Dockerfile"
rctr build -q -t made "$directory" >/dev/null
same "$(rctr run --rm made)" built

rctr network create four >/dev/null
rctr run -d --name web --network four busybox sh -c "$serve" >/dev/null
ask='exec 3<>/dev/tcp/web/80; printf "GET /index HTTP/1.0\r\n\r\n" >&3; grep -x hi <&3'
until_true 60 rctr run --rm --network four debian bash -c "$ask"
same "$(rctr network inspect --format '{{.EnableIPv6}} {{len .IPAM.Config}}' four)" "false 1"
rctr rm -f web >/dev/null
rctr network rm four >/dev/null
for flags in --ipv6 "--subnet fd00:6::/64"; do
    status=0
    out=$(rctr network create $flags six 2>&1) || status=$?
    same $status 1
    has "$out" "the kernel has none"
done
! rctr network inspect six >/dev/null 2>&1 || fail "a network that was refused is there"

ONLY=from_pull_to_removal run_tests_of tests cri_pods
ONLY=ports_of_the_host_lead_into_the_pod run_tests_of tests cri_ports
