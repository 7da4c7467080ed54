# The first process of a test cluster, inside namespaces of its own: when it ends, the kernel ends all the others.
# Arguments: directory of the programs, directory of the state. It ends as soon as its standard input does, which is
# when the test process closes it or dies.
set -eu
bin=$1
dir=$2
node=10.99.0.1

mount --make-rprivate /
mount -t tmpfs tmpfs /run
ip link set lo up
ip address add "$node/32" dev lo
# Without a route the addresses of Services are unreachable, before anything could translate them.
ip route add 10.96.0.0/16 dev lo src "$node"

"$bin/etcd" --unsafe-no-fsync --data-dir "$dir/etcd" \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 >"$dir/etcd.log" 2>&1 &

"$bin/kube-apiserver" --etcd-servers http://127.0.0.1:2379 \
    --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$dir/service-account.pub" --service-account-signing-key-file "$dir/service-account.key" \
    --token-auth-file "$dir/tokens.csv" --authorization-mode RBAC --service-cluster-ip-range 10.96.0.0/16 \
    --secure-port 6443 --bind-address "$node" --advertise-address "$node" --cert-dir "$dir/certificates" \
    --disable-admission-plugins ServiceAccount --kubelet-preferred-address-types InternalIP \
    --audit-policy-file "$dir/audit-policy.yaml" --audit-log-path "$dir/audit.log" >"$dir/apiserver.log" 2>&1 &

# The controller manager does not wait for the API server's certificate, so this does.
(
    until [ -s "$dir/certificates/apiserver.crt" ]; do sleep 0.05; done
    exec "$bin/kube-controller-manager" --kubeconfig "$dir/admin-inside.yaml" \
        --root-ca-file "$dir/certificates/apiserver.crt" \
        --service-account-private-key-file "$dir/service-account.key" --leader-elect=false --secure-port 0 \
        --use-service-account-credentials \
        --controllers deployment-controller,replicaset-controller,statefulset-controller,endpointslice-controller,garbage-collector-controller,namespace-controller,serviceaccount-controller,clusterrole-aggregation-controller,persistentvolumeclaim-protection-controller
) >"$dir/controller-manager.log" 2>&1 &

# Blocks until the other end is closed. Then nothing may write any more, and the state can go.
read -r _ || true
kill -KILL -1 2>/dev/null || true
rm -rf "$dir"
