// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title What a deposit address delegates to (EIP-7702): it can only send to the treasury.
/// @notice Anybody may call it, because wherever it is called from, everything goes to one address
/// that is fixed in its code. It has no storage, no owner and no other function that moves value.
contract DepositSweeper {
    using SafeERC20 for IERC20;

    /// @notice Where everything goes, for ever.
    address public immutable treasury;

    /// @notice Native coins left a deposit address. Of tokens their own Transfer log says it.
    event NativeSwept(address indexed account, uint256 amount);

    /// @notice The treasury must not be zero.
    error ZeroAddress();
    /// @notice The treasury did not take the native coin.
    error NativeRefused();

    /// @param treasury_ Where everything goes.
    constructor(address treasury_) {
        if (treasury_ == address(0)) revert ZeroAddress();
        treasury = treasury_;
    }

    /// @notice Send this account's whole balance of `token`. Nothing to send is no error.
    /// @dev Any contract may be named as `token`; it is asked for a balance and told to pay the
    /// treasury, whatever it is.
    /// @param token What to send.
    function sweepToken(IERC20 token) external {
        uint256 amount = token.balanceOf(address(this));
        if (amount != 0) token.safeTransfer(treasury, amount);
    }

    /// @notice Send this account's whole native balance. Nothing to send is no error.
    function sweepNative() external {
        uint256 amount = address(this).balance;
        if (amount != 0) {
            emit NativeSwept(address(this), amount);
            // To the immutable treasury only; a call, since it may be a contract wallet.
            // slither-disable-next-line low-level-calls
            (bool taken,) = treasury.call{value: amount}("");
            if (!taken) revert NativeRefused();
        }
    }

    /// @notice A delegated address still takes payments, also with a stipend of 2,300 gas. A
    /// payment with exactly 21,000 gas fails, as to any address with code: see docs/contracts.md.
    receive() external payable {}
}

/// @title Calls many delegated deposit addresses in one transaction.
/// @notice Holds nothing and has no rights: the addresses decide by their code where value goes.
/// An address that is not delegated (its authorisation was skipped) is told by an event instead of
/// stopping the others.
contract SweepBatch {
    /// @notice A call to this address moved nothing.
    event SweepFailed(address indexed account);

    /// @notice Sweep `token` (zero: the native coin) from every account.
    /// @param accounts Delegated deposit addresses.
    /// @param token The token's contract, or zero.
    function sweep(address[] calldata accounts, address token) external {
        bytes memory wish = token == address(0)
            ? abi.encodeCall(DepositSweeper.sweepNative, ())
            : abi.encodeCall(DepositSweeper.sweepToken, (IERC20(token)));
        uint256 count = accounts.length;
        for (uint256 i; i < count; ++i) {
            address account = accounts[i];
            bool done = account.code.length != 0;
            if (done) {
                // In a loop and unchecked on purpose: one account that fails is told by an event
                // and must not stop the others. This contract has nothing that could be taken.
                // slither-disable-next-line low-level-calls,calls-loop
                (done,) = account.call(wish);
            }
            if (!done) emit SweepFailed(account);
        }
    }
}
