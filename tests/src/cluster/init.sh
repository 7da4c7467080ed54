# The first process of a test cluster, inside namespaces of its own: when it ends, the kernel ends all the others.
# Arguments: directory of the programs, directory of the state, level (`control-plane` or `node`). It ends as soon as
# its standard input does, which is when the test process closes it or dies.
set -eu
bin=$1
dir=$2
level=$3
here=$(dirname "$0")
node=10.99.0.1

mount --make-rprivate /
mount -t tmpfs tmpfs /run
ip link set lo up
ip address add "$node/32" dev lo
# Without a route the addresses of Services are unreachable, before anything could translate them.
ip route add 10.96.0.0/16 dev lo src "$node"

# Where no node is, nothing could fill in a pod's token, and what needs a node has nothing to do.
admission="--disable-admission-plugins=ServiceAccount"
controllers=deployment-controller,replicaset-controller,statefulset-controller,endpointslice-controller,garbage-collector-controller,namespace-controller,serviceaccount-controller,clusterrole-aggregation-controller,persistentvolumeclaim-protection-controller
if [ "$level" = node ]; then
    admission="--enable-admission-plugins=ServiceAccount"
    controllers="*"
fi

"$bin/etcd" --unsafe-no-fsync --data-dir "$dir/etcd" \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 >"$dir/etcd.log" 2>&1 &

# As on a real control plane it is started again when it ends; not while a test wants it down.
(
    while :; do
        until [ ! -e "$dir/apiserver.down" ]; do sleep 0.05; done
        "$bin/kube-apiserver" --etcd-servers http://127.0.0.1:2379 \
            --service-account-issuer https://kubernetes.default.svc \
            --service-account-key-file "$dir/service-account.pub" --service-account-signing-key-file "$dir/service-account.key" \
            --token-auth-file "$dir/tokens.csv" --authorization-mode RBAC --service-cluster-ip-range 10.96.0.0/16 \
            --secure-port 6443 --bind-address "$node" --advertise-address "$node" --cert-dir "$dir/certificates" \
            "$admission" --kubelet-preferred-address-types InternalIP \
            --audit-policy-file "$dir/audit-policy.yaml" --audit-log-path "$dir/audit.log" >>"$dir/apiserver.log" 2>&1 || true
        sleep 0.05
    done
) &

# The other programs do not wait for the API server's certificate, so this does.
when_certified() {
    until [ -s "$dir/certificates/apiserver.crt" ]; do sleep 0.05; done
    exec "$@"
}

when_certified "$bin/kube-controller-manager" --kubeconfig "$dir/admin-inside.yaml" \
    --root-ca-file "$dir/certificates/apiserver.crt" \
    --service-account-private-key-file "$dir/service-account.key" --leader-elect=false --secure-port 0 \
    --use-service-account-credentials --kube-api-qps 1000 --kube-api-burst 1000 --controllers "$controllers" \
    >"$dir/controller-manager.log" 2>&1 &

[ "$level" != node ] || . "$here/node.sh"

# Blocks until the other end is closed. The kernel then ends whatever runs.
read -r _ || true
