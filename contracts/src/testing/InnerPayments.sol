// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// Value that reaches an address without a transaction to it. Tests only.

/// @notice Pays from inside: plainly, in a call that is undone, and by its own end.
contract InnerPayments {
    function pay(address payable to) external payable {
        (bool done,) = to.call{value: msg.value}("");
        require(done, "not taken");
    }

    /// @notice The transaction succeeds; the payment inside it is undone.
    function payAndUndo(address payable to) external payable {
        try this.payAndFail{value: msg.value}(to) {} catch {}
    }

    function payAndFail(address payable to) external payable {
        (bool done,) = to.call{value: msg.value}("");
        require(!done, "undone");
    }

    /// @notice Half of it twice, each one call deeper than the one before.
    function payTwice(address payable to) external payable {
        this.pay{value: msg.value / 2}(to);
        this.payDeep{value: msg.value / 2}(to, 1);
    }

    function payDeep(address payable to, uint256 depth) external payable {
        if (depth == 0) this.pay{value: msg.value}(to);
        else this.payDeep{value: msg.value}(to, depth - 1);
    }

    /// @notice Runs the code at `to` (none, as a rule) here: no coins move, though a trace names some.
    function delegateTo(address to) external payable {
        // slither-disable-next-line low-level-calls
        (bool done,) = to.delegatecall("");
        require(done, "not run");
    }

    /// @notice A payment that the trace has and that is undone with the whole transaction.
    function payAndRevert(address payable to) external payable {
        this.pay{value: msg.value}(to);
        revert("all of it");
    }

    function payByEnding(address payable to) external payable {
        new Ending{value: msg.value}(to);
    }
}

/// @notice Ends while it is made; its coins go to `to` without a call.
contract Ending {
    constructor(address payable to) payable {
        selfdestruct(to);
    }
}

/// @notice Ends when it is told to, long after it was made.
contract LateEnding {
    constructor() payable {}

    function end(address payable to) external {
        selfdestruct(to);
    }
}
